"""A burst: consumers from one to many and back, nothing lost, nothing done twice."""

from __future__ import annotations

from datetime import datetime

from tests.e2e.conftest import LateKey
from tests.e2e.release import Release, until

JOBS = 20_000


def test_a_burst_is_met_drained_and_forgotten(release: Release) -> None:
    until(lambda: release.replicas("quick"), lambda n: n == 1, 60, "one consumer before the burst")
    told = release.submit("load.quick", "burst", JOBS, seconds=0.2)
    assert told["accepted"] == JOBS, told
    release.each_once("burst", JOBS, 180)
    journal = [record for record in release.journal("quick") if _unix(record["at"]) >= told["began"]]
    ups = [record for record in journal if (record["scaled"] or 0) > record["asked"]]
    print(f"submitted in {told['ended'] - told['began']:.1f} s, answers {told['answers']}")
    for record in ups:
        print(f"{_unix(record['at']) - told['began']:.1f} s: {record['text']}")
    assert ups, "scaled up"
    assert max(record["scaled"] for record in ups) == 6
    assert all(record["reason"] and record["text"] for record in journal)
    until(lambda: release.replicas("quick"), lambda n: n == 1, 90, "back to min")
    until(lambda: len(release.pods("consumer", "quick")), lambda n: n == 1, 30, "one pod is left")
    scaled = [event for event in release.events() if event["involvedObject"]["name"] == f"{release.prefix}-consumer-quick"]
    assert any("→" in event["message"] for event in scaled if event["source"].get("component") == "headrace"), (
        "said on the workload"
    )


def test_from_zero_and_to_zero(release: Release) -> None:
    until(lambda: release.replicas("long"), lambda n: n == 0, 60, "none where nothing is to do")
    told = release.submit("load.long", "zero", 3, seconds=1)
    assert told["accepted"] == 3
    until(lambda: release.effects("zero"), lambda seen: seen["effects"] == 3, 60, "three effects")
    woken = [_unix(record["at"]) for record in release.journal("long") if record["asked"] == 0 and record["scaled"]]
    begun = min(map(float, release.effects("zero", "jobs")["at"].values()))
    print(f"asked for {woken[-1] - told['began']:.1f} s after the first submit, {begun - woken[-1]:.1f} s before the first job")
    assert begun > woken[-1]
    until(lambda: release.replicas("long"), lambda n: n == 0, 90, "back to zero")


def test_the_key_that_was_added_is_valid_without_a_restart(release: Release, late_key: LateKey) -> None:
    ask = ("env", f"HEADRACE_API_KEY={late_key.key}", "headrace", "dead", "list", "--json", f"--url={release.url}")
    until(lambda: release.client(*ask), lambda said: '"items"' in said, 150, "the new key's first answer")
    assert {pod["metadata"]["uid"] for pod in release.pods("gateway")} == late_key.gateways


def _unix(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
