"""An alert, from slow handlers to a receiver in the cluster, and its end."""

from __future__ import annotations

import re

from tests.e2e.release import Json, Release, until

LIMIT = 5.0  # seconds: the policy's default


def test_slow_handlers_raise_an_alert_with_a_trace_and_it_resolves(release: Release) -> None:
    until(release.leader, bool, 60, "a leader")
    assert release.submit("load.long", "slow", 6, seconds=7)["accepted"] == 6
    (raised, *_) = until(lambda: _latency(release, "long"), bool, 90, "the alert")
    assert float(re.search(r"mean latency ([0-9.]+) s", raised["annotations"]["summary"])[1]) > LIMIT  # type: ignore[index]
    assert re.fullmatch(r"https://traces\.example/[0-9a-f]{32}", raised["generatorURL"])
    assert not raised.get("endsAt")
    # A latency is of the last 30 s, and an alert that was away for 60 s is over.
    until(lambda: [one for one in _latency(release, "long") if one.get("endsAt")], bool, 180, "its end")


def _latency(release: Release, queue: str) -> list[Json]:
    return [one for one in release.alerts() if (one["labels"]["alertname"], one["labels"]["queue"]) == ("HeadraceLatency", queue)]
