"""Two releases in one namespace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.e2e.release import Release, until


def test_each_does_its_own_jobs(release: Release, second: Release) -> None:
    assert "succeeded" in second.helm("test", second.name, "--logs")
    assert "succeeded" in release.helm("test", release.name, "--logs")
    assert release.effects("tried")["jobs"] == 0, "it was done by the other's consumer, and left in the other's store"


def test_each_controller_scales_its_own_consumers(release: Release, second: Release) -> None:
    """By the load of one alone the other does not move; and each has its own lead."""
    until(lambda: release.replicas("quick"), lambda n: n == 1, 90, "one consumer")
    with ThreadPoolExecutor(1) as background:
        load = background.submit(second.submit, "load.quick", "second", 3000, seconds=0.3)
        until(lambda: second.replicas("quick"), lambda n: n > 1, 60, "more consumers")
        assert load.result()["accepted"] == 3000
    assert release.replicas("quick") == 1
    assert release.effects("second")["jobs"] == 0
    assert {pod["metadata"]["labels"]["app.kubernetes.io/instance"] for pod in second.pods("consumer")} == {second.name}
    leaders = release.leader(), until(second.leader, bool, 30, "a leader")
    assert leaders[0] in {pod["metadata"]["name"] for pod in release.pods("controller")}
    assert leaders[1] in {pod["metadata"]["name"] for pod in second.pods("controller")}
