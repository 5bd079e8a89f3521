"""Jobs that were begun end; back to the first revision; and gone."""

from __future__ import annotations

import json

from tests.e2e.release import Json, Release, until


def test_the_alert_resolves(release: Release, raised: Json) -> None:
    """A latency is of the last 30 s, and an alert that was absent for 60 s is over."""
    until(lambda: _of_this(release)[-1], lambda last: "endsAt" in last, 180, "its end")
    assert raised


def test_a_rollback_brings_the_first_revision_back(release: Release) -> None:
    release.upgrade({"image": {"tag": "b"}, "gateway": {"replicas": 1}})
    release.helm("rollback", release.name, "1", "--wait", "--timeout", "120s")
    pods = until(lambda: release.pods("gateway"), lambda pods: len(pods) == 2, 60, "two gateways, as at first")
    assert all(pod["spec"]["containers"][0]["image"].endswith(":a") for pod in pods)
    assert "succeeded" in release.helm("test", release.name, "--logs"), "with the passwords that were made at first"


def test_nothing_is_left_but_what_is_to_be_kept(release: Release) -> None:
    """`rabbitmq.dev.keep` keeps the broker's volume and its password; Redis' go."""
    release.helm("uninstall", release.name, "--wait", "--timeout", "120s")
    kept = {f"persistentvolumeclaims/data-{release.prefix}-rabbitmq-0", f"secrets/{release.prefix}-rabbitmq-user"}
    ours = {"pods/client", "services/receiver", "networkpolicies.networking.k8s.io/e2e"}  # beside the release
    theirs = {"configmaps/kube-root-ca.crt", "serviceaccounts/default"}  # every namespace has them
    until(lambda: _all(release), lambda found: found == kept | ours | theirs, 90, "what is left")


def _of_this(release: Release) -> list[Json]:
    """Another release posts to the same receiver, and was uninstalled while its alerts stood."""
    alerts = release.alerts("HeadraceLatency", "long")
    return [alert for alert in alerts if alert["labels"]["workload"] == f"{release.prefix}-consumer-long"]


def _all(release: Release) -> set[str]:
    """Every object of the namespace but events, and what follows from Services."""
    kinds = release.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    passing = ("events", "endpoint", "metrics.k8s.io")
    found = set()
    for kind in kinds:
        if not kind.startswith(passing) and "metrics" not in kind:
            items = json.loads(release.kubectl("get", kind, "--output=json"))["items"]
            found |= {f"{kind}/{item['metadata']['name']}" for item in items}
    return found
