"""One release that tests share, and what is gathered when one fails."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import pytest

from tests.e2e.release import Json, Release, folder_of, until
from tests.servers.kubernetes import Cluster

_SHARED = pytest.StashKey[Release]()


@pytest.fixture(scope="session")
def release(cluster: Cluster, images: Json, request: pytest.FixtureRequest) -> Iterator[Release]:
    """Installed once, with a client beside it."""
    made = Release(cluster, images)
    request.config.stash[_SHARED] = made
    made.notes = made.install()
    made.start_client()
    yield made
    made.end()


SECOND: Json = {
    "gateway": {"replicas": 1},
    "controller": {"replicas": 1},
    "consumers": {name: {"enabled": False} for name in ("apart", "registration", "payouts")},
    "rabbitmq": {"dev": {"keep": False}},
    "mail": {"mode": "none"},
    "test": {"jobType": "load.quick", "payload": {"run": "tried", "n": 1, "seconds": 0}},
}


@pytest.fixture(scope="session")
def second(cluster: Cluster, images: Json, release: Release) -> Release:
    """A small one in the same namespace, used from the same client. Its consumers of `long` cannot start: their image is nowhere.

    The test that looks for the alert about that, which follows after two minutes, takes it away.
    """
    made = Release(cluster, images, "u", beside=release)
    made.install(SECOND)
    until(lambda: made.replicas("long"), lambda n: n == 0, 60, "its first consumer of `long`, which has the right image, goes")
    made.kubectl("set", "image", f"deployment/{made.prefix}-consumer-long", "consumer=headrace.invalid/nowhere:1")
    made.submit("load.long", "nowhere", 1)
    return made


class LateKey(NamedTuple):
    """A key that was added to the Secret while the gateways ran, whose uids these were."""

    key: str
    gateways: set[str]


@pytest.fixture(scope="session")
def late_key(release: Release) -> LateKey:
    gateways = {pod["metadata"]["uid"] for pod in release.pods("gateway")}
    made = json.loads(release.client("headrace", "key", "new", "--name=late", "--scopes=read", "--json"))
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and call.when in ("setup", "call"):
        used = [one for one in getattr(item, "funcargs", {}).values() if isinstance(one, Release)]
        if not used and _SHARED in item.config.stash:
            used = [item.config.stash[_SHARED]]
        for one in used:
            folder = folder_of(re.sub(r"\W+", "-", item.name))
            one.diagnose(folder)
            report.sections.append(("diagnostics", str(folder)))
    return report
