"""The images, one release that tests share, and what is gathered when one fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.release import ROOT, Json, Release, folder_of, until
from tests.servers import missing
from tests.servers.kubernetes import Cluster

_TEAM = Path(__file__).parent / "team"
REPOSITORY = "headrace.local/e2e"


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Json:
    """Values that name the images: ours with the test's handlers as tags `a` and `b`, and the brokers that the cluster has."""
    if not shutil.which("helm"):
        missing("kubernetes", "helm is not on PATH")
    base = base_image(cluster)
    _build(f"{REPOSITORY}:base", ROOT, BASE_IMAGE=base)
    for tag in ("a", "b"):
        _build(f"{REPOSITORY}:{tag}", _TEAM, BASE_IMAGE=f"{REPOSITORY}:base")
        cluster.load(f"{REPOSITORY}:{tag}")
    values: Json = {"image": {"repository": REPOSITORY, "tag": "a", "pullPolicy": "IfNotPresent"}}
    if cluster.local:
        cluster.load(base)
    if cluster.local:
        for name in ("rabbitmq", "redis"):
            cluster.load(f"headrace.local/{name}")
            values[name] = {"dev": {"image": f"headrace.local/{name}:latest", "imagePullPolicy": "Never"}}
    return values


def base_image(cluster: Cluster) -> str:
    """What ours is built on, with its tag."""
    default = "headrace.local/python:latest" if cluster.local else "docker.io/library/python:3.13-slim"
    return os.environ.get("HEADRACE_BASE_IMAGE", default)


def _build(tag: str, context: Path, **arguments: str) -> None:
    command = [
        "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker",
        "build",
        "--quiet",
        "--network=host",
        "--tag",
        tag,
    ]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    done = subprocess.run([*command, str(context)], env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"docker build {context}: {done.stderr[-4000:]}")


@pytest.fixture(scope="session")
def release(cluster: Cluster, images: Json, request: pytest.FixtureRequest) -> Iterator[Release]:
    """Installed once, with a client beside it."""
    made = Release(cluster, images)
    request.config.stash[_SHARED] = made
    made.notes = made.install()
    made.start_client()
    yield made
    made.end()


class LateKey(NamedTuple):
    """A key that was added to the Secret while the gateways ran, whose uids these were."""

    key: str
    gateways: set[str]


@pytest.fixture(scope="session")
def late_key(release: Release) -> LateKey:
    gateways = {pod["metadata"]["uid"] for pod in release.pods("gateway")}
    make = ("headrace", "key", "new", "--name=late", "--scopes=read", "--json")
    made = json.loads(release.kubectl("exec", "client", "--container=client", "--", *make))
    patch = {"stringData": {"late": made["line"] + "\n"}}
    release.kubectl("patch", "secret", f"{release.prefix}-api-keys", "--patch", json.dumps(patch))
    return LateKey(made["key"], gateways)


@pytest.fixture(scope="session")
def raised(release: Release) -> Json:
    """The first alert about slow handlers, which this brings about."""
    until(release.leader, bool, 60, "a leader")
    assert release.submit("load.long", "slow", 6, seconds=7)["accepted"] == 6
    return until(lambda: release.alerts("HeadraceLatency", "long"), bool, 90, "the alert")[0]


_SHARED = pytest.StashKey[Release]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and call.when in ("setup", "call"):
        arguments = getattr(item, "funcargs", {})
        used = [arguments[name] for name in arguments if isinstance(arguments[name], Release)]
        used = used or [made for made in [item.config.stash.get(_SHARED, None)] if made is not None]
        for one in used:
            folder = folder_of(re.sub(r"\W+", "-", item.name))
            one.diagnose(folder)
            report.sections.append(("diagnostics", str(folder)))
    return report
