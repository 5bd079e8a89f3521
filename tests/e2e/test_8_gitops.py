"""The chart as Argo CD applies it: rendered where no cluster can be asked, with Secrets that were made before (docs/gitops.md)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.release import CHART, ROOT, Json, Release, merged
from tests.servers.kubernetes import Cluster

VALUES: Json = {
    "rabbitmq": {"dev": {"existingSecret": "headrace-rabbitmq"}},
    "redis": {"dev": {"existingSecret": "headrace-redis"}},
    "gateway": {"replicas": 1, "apiKeys": {"existingSecret": "headrace-api-keys"}},
    "controller": {"replicas": 1},
    "consumers": {"registration": {"enabled": False}},
    "mail": {"mode": "none"},
    "monitoring": {"podMonitors": False, "rules": False, "dashboard": False},
}


@pytest.fixture
def release(cluster: Cluster, images: Json) -> Iterator[Release]:
    """One that Helm does not know of, called as k8s/secrets.sh wants it."""
    made = Release(cluster, images, "headrace")
    environment = os.environ | {"KUBECONFIG": cluster.kubeconfig}
    script: list[str | Path] = [ROOT / "k8s/secrets.sh", made.namespace]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60, check=True)
    made.kubectl("apply", "--filename=-", given=done.stdout)
    yield made
    made.end()


@pytest.mark.needs("openssl")
def test_a_second_sync_changes_nothing(release: Release) -> None:
    first, second = _render(release), _render(release)
    assert first == second
    release.kubectl("apply", "--filename=-", given=first)
    for name in ("statefulset/headrace-rabbitmq", "deployment/headrace-gateway", "deployment/headrace-consumer-payouts"):
        release.kubectl("rollout", "status", name, "--timeout=110s", seconds=120)
    before, secrets = _pods(release), _secrets(release)
    # kubectl says "configured" of what it sends in vain, too: such as selectors, which it replaces as a whole.
    assert release.kubectl("diff", "--filename=-", given=second) == "", "as Argo CD looks at it: by a dry run"
    release.kubectl("apply", "--filename=-", given=second)
    assert (_pods(release), _secrets(release)) == (before, secrets), (
        "none was replaced or started again, no password is another one"
    )
    key = f"HEADRACE_API_KEY={release.secret('headrace-api-key', 'key')}"
    job = '{"order_id": 1, "user_id": 1, "amount": "1.00", "currency": "EUR"}'
    tried = ("env", key, "headrace", "try", "order.settled", job, "--url=http://127.0.0.1:8080")
    assert "succeeded" in release.kubectl("exec", "deployment/headrace-gateway", "--", *tried)


def _render(release: Release) -> str:
    """Without a cluster, and without hooks, which Argo CD runs in its own way."""
    values = merged(VALUES, release.images)
    given = ",".join(f"{key}={json.dumps(value)}" for key, value in values.items())
    command = ["helm", "template", "headrace", str(CHART), "--namespace", release.namespace, "--no-hooks", "--set-json", given]
    environment = os.environ | {"KUBECONFIG": "/nonexistent"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def _pods(release: Release) -> dict[str, list[int]]:
    """The restarts of each pod's containers, by its uid."""
    return {
        pod["metadata"]["uid"]: [one["restartCount"] for one in pod["status"].get("containerStatuses", ())]
        for pod in release.get("pods")["items"]
    }


def _secrets(release: Release) -> dict[str, Json]:
    return {one["metadata"]["name"]: one["data"] for one in release.get("secrets")["items"]}
