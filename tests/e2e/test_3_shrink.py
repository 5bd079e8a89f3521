"""Fewer consumers while jobs run."""

from __future__ import annotations

from tests.e2e.release import Release, until


def test_the_idlest_go_first_and_no_running_job_is_disturbed(release: Release) -> None:
    """Six short jobs and two of 50 s want four pods. Those that shrink away are not the ones with the long jobs, which outlast the
    drain: they stay until these have ended. Before, fewer must have been wanted for the time of three jobs, some 20 s."""
    told = release.submit("load.long", "idlest", 6, seconds=6)
    assert told["accepted"] == 6
    told = release.submit("load.long", "idlest", 2, first=6, seconds=50)
    until(lambda: release.effects("idlest", "jobs"), lambda seen: len(seen["began_by_job"]) == 8, 60, "all have begun")
    seen = until(lambda: release.effects("idlest", "jobs"), lambda seen: seen["effects"] == 8, 90, "all have ended")
    assert set(seen["ended_by_job"].values()) == {1}
    assert set(seen["began_by_job"].values()) == {1}, "none was handed back: the pods that went had nothing to do"
    journal = release.journal("long")
    most = max(record["scaled"] or 0 for record in journal[-200:])
    downs = [record for record in journal[-200:] if record["scaled"] is not None and record["scaled"] < record["asked"]]
    print(f"up to {most}; {[(record['asked'], record['scaled'], record['text']) for record in downs]}")
    assert most >= 2
    assert any(record["scaled"] > 0 for record in downs), "it shrank while the long ones ran"


def test_pods_that_are_never_idle_go_too_and_no_job_begins_twice(release: Release) -> None:
    """Eight jobs of 25 s want four pods; then one comes every 10 s, which two pods could do, and each of the four gets some. Those
    that are to go take nothing more, until what they run would end within the drain of 8 s."""
    until(lambda: release.replicas("long"), lambda n: n == 0, 90, "a quiet start")
    release.submit("load.long", "steady", 8, seconds=25)
    told = release.submit("load.long", "steady", 13, first=8, rate=0.1, seconds=25)
    assert told["accepted"] == 13
    at_work = release.replicas("long")
    seen = until(lambda: release.effects("steady", "jobs"), lambda seen: seen["effects"] == 21, 90, "all have ended")
    assert set(seen["began_by_job"].values()) == {1}
    assert set(seen["ended_by_job"].values()) == {1}
    most = max(record["scaled"] or 0 for record in release.journal("long")[-150:])
    print(f"up to {most} replicas, {at_work} while one came every 10 s")
    assert most >= 4
    assert 0 < at_work < most


def test_what_ends_in_time_ends_and_what_does_not_is_handed_back(release: Release) -> None:
    """All pods get SIGTERM: of two jobs in one pod, the short one ends there, the long one begins again in another."""
    until(lambda: release.replicas("long"), lambda n: n == 0, 90, "a quiet start")
    release.submit("load.long", "drain", 1, first=0, seconds=14)
    release.submit("load.long", "drain", 1, first=1, seconds=5)
    until(lambda: release.effects("drain", "jobs"), lambda seen: len(seen["began_by_job"]) == 2, 60, "both have begun")
    release.kubectl("annotate", f"deployment/{release.prefix}-consumer-long", "headrace/pause=all")  # it would shrink meanwhile
    first = release.effects("drain", "jobs")["pods"]
    release.kubectl("delete", "pods", "--selector", "headrace/consumer=long", "--wait=false")
    seen = until(lambda: release.effects("drain", "jobs"), lambda seen: seen["effects"] == 2, 90, "both have ended")
    release.kubectl("annotate", f"deployment/{release.prefix}-consumer-long", "headrace/pause-")
    assert seen["began_by_job"] == {"0": 2, "1": 1}
    assert seen["ended_by_job"] == {"0": 1, "1": 1}
    assert seen["pods"]["1"] == first["1"]
    assert seen["pods"]["0"] != first["0"]
