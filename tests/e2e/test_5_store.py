"""The store of outcomes goes away, and comes back."""

from __future__ import annotations

import re

from tests.e2e.release import Release, until

JOBS = 2000


def test_without_the_store_the_controller_holds_and_says_why(release: Release) -> None:
    """Jobs are accepted, and more consumers are wanted; but consumers begin nothing, so more of them would not, either."""
    until(release.leader, bool, 60, "a leader")
    until(lambda: release.replicas("quick"), lambda n: n == 1, 90, "one consumer")
    store = f"statefulset/{release.prefix}-redis"
    release.kubectl("scale", store, "--replicas=0")
    try:
        # Where the API server was unavailable before, the controller of StatefulSets may take half a minute to begin again.
        release.kubectl(
            "wait", "pod", "--selector=app.kubernetes.io/component=redis", "--for=delete", "--timeout=120s", seconds=130
        )
        # An idle consumer looks at its store every 5 s.
        until(lambda: _ready(release), lambda ready: not ready, 60, "its consumer is not ready")
        told = release.submit("load.quick", "storeless", JOBS, seconds=0.3)
        assert told["accepted"] == JOBS, told
        until(lambda: _held(release), lambda decisions: decisions >= 5, 90, "decisions to hold")
        assert release.replicas("quick") == 1
        assert release.kubectl("get", "pods", "--selector=headrace/consumer=quick", "--output=name").count("pod/") == 1
    finally:
        release.kubectl("scale", store, "--replicas=1")
    release.kubectl("rollout", "status", store, "--timeout=120s", seconds=130)
    seen = until(lambda: release.effects("storeless"), lambda seen: seen["effects"] >= JOBS, 120, "all effects")
    assert seen["effects"] == seen["jobs"] == JOBS
    assert seen["ended"] == {"1": JOBS}
    until(
        lambda: {one["reason"] for one in release.journal("quick")}, lambda all_: "store-away" in all_, 30, "it is in the journal"
    )


def _ready(release: Release) -> list[str]:
    """The names of the pods that are."""
    pods = release.pods("consumer", "quick")
    return [pod["metadata"]["name"] for pod in pods if any(one["ready"] for one in pod["status"].get("containerStatuses", ()))]


def _held(release: Release) -> float:
    """How many decisions of the controller that leads had this reason; the journal is in the store."""
    probe = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8082/metrics').read().decode())"
    said = release.kubectl("exec", release.leader(), "--", "python", "-c", probe)
    found = re.search(r'^headrace_scaling_decisions_total\{queue="quick",reason="store-away"\} ([0-9.]+)$', said, re.MULTILINE)
    return float(found[1]) if found else 0.0
