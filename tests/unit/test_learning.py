"""The learned rates after the source of a counter changes."""

from __future__ import annotations

import pytest

from autoscaler import state as states
from autoscaler.decide import decide
from autoscaler.model import UNKNOWN, Figure, Observation, Policy, Seen
from autoscaler.state import State


def observation(now: float, published: Seen, completed: float) -> Observation:
    none, ended = Figure(0.0, now), Figure(completed, now)
    return Observation(
        now,
        4,
        ready=Figure(4.0, now),
        ready_jobs=none,
        unacked=none,
        in_flight=none,
        published=published,
        completed=ended,
        busy_seconds=ended,
    )


def test_the_brokers_own_count_that_comes_late_is_no_burst_and_neither_is_its_going() -> None:
    """At the start it is not reported yet: arrivals are what has ended and what is there. Its zero point is another one."""
    policy, state, rates = Policy(), states.fresh(0.0, 0.0), []

    def see(now: float, published: Seen) -> State:
        decision, after = decide(policy, state, observation(now, published, 10 * now), now)
        rates.append(decision.arrival_rate)
        assert decision.replicas <= 4
        return after

    for tick in range(1, 60):
        now = 2.0 * tick
        told = 10 < tick < 40
        state = see(now, Figure(1_000_000.0 + 10 * now, now) if told else UNKNOWN)
    assert rates[1:] == [pytest.approx(10.0)] * 58
