"""The images, one release that tests share, and what is gathered when one fails."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.release import Json, Release, folder_of, until
from tests.servers import docker, missing
from tests.servers.kubernetes import Cluster

_TEAM = Path(__file__).parent / "team"
REPOSITORY = "headrace.local/e2e"


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> Json:
    """Values that name the images: ours with the test's handlers as tags `a` and `b`, and the brokers that the cluster has."""
    if not shutil.which("helm"):
        missing("kubernetes", "helm is not on PATH")
    base = base_image(cluster)
    docker.build(f"{REPOSITORY}:base", arguments={"BASE_IMAGE": base})
    for tag in ("a", "b"):
        docker.build(f"{REPOSITORY}:{tag}", context=_TEAM, arguments={"BASE_IMAGE": f"{REPOSITORY}:base"})
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
    """An alert about slow handlers, which this brings about. Long jobs of other tests may have had one, about waiting."""
    until(release.leader, bool, 60, "a leader")
    before = len(release.alerts("HeadraceLatency", "long"))
    assert release.submit("load.long", "slow", 6, seconds=7)["accepted"] == 6
    new = until(
        lambda: release.alerts("HeadraceLatency", "long")[before:],
        lambda found: any("endsAt" not in one for one in found),
        90,
        "the alert",
    )
    return next(one for one in new if "endsAt" not in one)


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
