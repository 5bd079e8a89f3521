"""Two nodes for pods: where the pods are, and what becomes of the work when one of the nodes is drained, or lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.e2e.release import Json, Release, until
from tests.kind.conftest import VALUES
from tests.servers.kind import Kind

GATEWAYS: int = VALUES["gateway"]["replicas"]
SEVERAL = {"gateway": "", "controller": "", "consumer": "quick"}  # components of several replicas, and which consumer
RATE = 40


def test_replicas_are_on_both_workers(release: Release, workers: list[str]) -> None:
    _spread(release, workers)


def test_and_so_are_those_of_a_rollout(release: Release, workers: list[str]) -> None:
    """However many: pods of the version before, which go, are no reason to put the new ones together."""
    deployments = [f"deployment/{release.prefix}-{name}" for name in ("gateway", "controller", "consumer-quick")]
    for _ in range(4):
        release.kubectl("rollout", "restart", *deployments)
        for one in deployments:
            release.kubectl("rollout", "status", one, "--timeout=90s", seconds=100)
        _spread(release, workers)


def test_a_drain_under_load_loses_nothing_and_takes_gateways_one_by_one(release: Release, workers: list[str]) -> None:
    seconds, node = 45, workers[0]
    before = {component: _nodes(release, component, consumer) for component, consumer in SEVERAL.items()}
    assert all(counted[node] for counted in before.values()), before
    with ThreadPoolExecutor(1) as background, _fewest(release) as fewest:
        load = background.submit(release.submit, "load.quick", "drained", RATE * seconds, rate=RATE, seconds=0.3)
        time.sleep(5)
        try:
            options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
            release.cluster.kubectl("drain", node, *options, seconds=150)
            assert not any(_nodes(release, component, consumer)[node] for component, consumer in SEVERAL.items())
            told = load.result()
        finally:
            release.cluster.kubectl("uncordon", node)
    print(told["answers"], f"gateways at least {min(fewest)}")
    assert told["accepted"] == RATE * seconds, told
    assert set(told["answers"]) <= {"202", "503"}, told
    assert min(fewest) >= GATEWAYS - 1, "the budget lets one go at a time"
    seen = until(lambda: release.effects("drained"), lambda seen: seen["effects"] >= told["accepted"], 90, "all effects")
    assert seen["effects"] == seen["jobs"] == told["accepted"]
    assert seen["ended"] == {"1": told["accepted"]}, "none was done twice: what does not end in the drain is handed back"


@pytest.fixture
def lost(release: Release, kind: Kind, workers: list[str]) -> Iterator[str]:
    """The worker on which the controller is that leads; to be stopped, and started again. All have pods on it."""
    deployments = [f"deployment/{release.prefix}-{name}" for name in ("gateway", "controller", "consumer-quick")]
    release.kubectl("rollout", "restart", *deployments)  # after the drain all are on one node
    for one in deployments:
        release.kubectl("rollout", "status", one, "--timeout=90s", seconds=100)
    _spread(release, workers)
    leader = until(release.leader, bool, 60, "a leader")
    (node,) = [pod["spec"]["nodeName"] for pod in release.pods("controller") if pod["metadata"]["name"] == leader]
    yield str(node)
    kind.start(node)
    release.cluster.kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=120s", seconds=130)


def test_a_node_that_is_lost_takes_no_job_with_it(release: Release, kind: Kind, workers: list[str], lost: str) -> None:
    """A client that comes again is served, by the gateways that are left; jobs that ran on the node begin again elsewhere."""
    seconds, leader = 60, release.leader()
    with ThreadPoolExecutor(1) as background:
        load = background.submit(release.submit, "load.quick", "lost", RATE * seconds, rate=RATE, seconds=1.0, patience=150)
        time.sleep(8)
        kind.stop(lost)
        began = time.monotonic()
        another = until(release.leader, lambda name: name not in ("", leader), 60, "another leader")
        print(f"another leader after {time.monotonic() - began:.1f} s")
        assert {one["metadata"]["name"]: one["spec"]["nodeName"] for one in release.pods("controller")}[another] != lost
        told = load.result()
        print(f"submitted {time.monotonic() - began:.1f} s after the loss: {told['answers']}")
    assert told["accepted"] == RATE * seconds, told
    seen = until(lambda: release.effects("lost"), lambda seen: seen["effects"] >= RATE * seconds, 240, "all effects")
    print(f"all effects {time.monotonic() - began:.1f} s after the loss: {seen}")
    assert seen["effects"] == seen["jobs"] == RATE * seconds
    kind.start(lost)
    release.cluster.kubectl("wait", f"node/{lost}", "--for=condition=Ready", "--timeout=120s", seconds=130)
    for name in ("gateway", "controller", "consumer-quick"):
        release.kubectl("rollout", "status", f"deployment/{release.prefix}-{name}", "--timeout=120s", seconds=130)
    assert release.submit("load.quick", "found", 200, seconds=0.1)["accepted"] == 200
    until(lambda: release.effects("found"), lambda seen: seen["effects"] == 200, 60, "all goes on")


def _nodes(release: Release, component: str, consumer: str) -> Counter[str]:
    """How many pods each node has."""
    return Counter(pod["spec"].get("nodeName", "") for pod in release.pods(component, consumer))


def _spread(release: Release, workers: list[str]) -> None:
    for component, consumer in SEVERAL.items():
        counted = _nodes(release, component, consumer)
        assert set(counted) == set(workers), f"{component}: {counted}"


@contextmanager
def _fewest(release: Release) -> Iterator[list[int]]:
    """How many gateways were ready, as seen again and again meanwhile."""
    seen: list[int] = []
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.3):
            seen.append(sum(map(_is_ready, release.pods("gateway"))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def _is_ready(pod: Json) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
