"""Jobs of hours, played with jobs of 20 s: each delivery has a Job of its own, which ends with it."""

from __future__ import annotations

from tests.e2e.release import Release, until


def test_each_has_a_pod_of_its_own_and_all_end_by_themselves(release: Release) -> None:
    assert release.jobs("apart") == []
    assert release.submit("load.apart", "apart", 4, seconds=20)["accepted"] == 4
    until(lambda: release.effects("apart", "jobs"), lambda seen: len(seen["began_by_job"]) == 4, 60, "all have begun")
    made = {one["metadata"]["name"] for one in release.jobs("apart")}
    assert 4 <= len(made) <= 6, "one for each, and few in vain"
    seen = until(lambda: release.effects("apart", "jobs"), lambda seen: seen["effects"] == 4, 60, "all have ended")
    assert set(seen["began_by_job"].values()) == set(seen["ended_by_job"].values()) == {1}
    assert len(set(seen["pods"].values())) == 4
    jobs = until(
        lambda: release.jobs("apart"), lambda found: all("completionTime" in one["status"] for one in found), 30, "the ends"
    )
    assert all(one["status"].get("succeeded") == 1 and not one["status"].get("failed") for one in jobs)
    until(lambda: release.jobs("apart"), lambda found: not found, 60, "no Job left after its time")
    assert release.pods("consumer", "apart") == []
    records = release.journal("apart")
    assert [one for one in records if one["scaled"] is not None and one["scaled"] < one["asked"]] == [], "none was taken away"
    assert {alert["kind"] for one in records for alert in one["alerts"]} <= {"at-max"}
    warned = [one["message"] for one in release.events() if one["type"] == "Warning" and "apart" in one["involvedObject"]["name"]]
    assert [message for message in warned if "Unexpected" in message or "Saw a job" in message] == []


def test_what_a_pod_that_is_deleted_does_not_finish_begins_again_in_another_job(release: Release) -> None:
    assert release.submit("load.apart", "apart-again", 1, seconds=20)["accepted"] == 1
    seen = until(lambda: release.effects("apart-again", "jobs"), lambda seen: "0" in seen["began_by_job"], 60, "it has begun")
    release.kubectl("delete", "pod", seen["pods"]["0"], "--wait=false")
    again = until(lambda: release.effects("apart-again", "jobs"), lambda now: now["effects"] == 1, 90, "it has ended")
    assert (again["began_by_job"], again["ended_by_job"]) == ({"0": 2}, {"0": 1})
    assert again["pods"]["0"] != seen["pods"]["0"]


def test_a_pause_holds_new_jobs_back(release: Release) -> None:
    template = f"cronjob/{release.prefix}-consumer-apart"
    until(lambda: release.pods("consumer", "apart"), lambda found: all(_ended(one) for one in found), 60, "a quiet start")
    release.kubectl("annotate", template, "headrace/pause=out")
    assert release.submit("load.apart", "apart-later", 1, seconds=1)["accepted"] == 1
    until(lambda: release.journal("apart")[-1], lambda one: one["reason"] == "paused" and one["backlog"] == 1, 30, "it waits")
    assert release.effects("apart-later")["jobs"] == 0
    release.kubectl("annotate", template, "headrace/pause-")
    until(lambda: release.effects("apart-later"), lambda seen: seen["effects"] == 1, 60, "it has ended")


def _ended(pod: dict[str, object]) -> bool:
    status = pod["status"]
    return isinstance(status, dict) and status.get("phase") in ("Succeeded", "Failed")
