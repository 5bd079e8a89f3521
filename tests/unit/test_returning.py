"""Retries that have been put off: when they come back they are arrivals, whichever source tells what is published."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.decide import decide
from autoscaler.model import UNKNOWN, Decision, Figure, Observation, Policy
from autoscaler.state import State, fresh
from core.returning import SOON_SECONDS, Returning

POLICY = Policy(max_replicas=50, concurrency=4, service_seconds=1.0, down_window=6.0)


def test_a_retry_returns_when_it_falls_due_and_is_counted_once() -> None:
    returning = Returning()
    for due in (100.2, 100.7, 103.0, 160.0):
        returning.put_off(due)
    assert [returning.returned(now) for now in (99.0, 100.9, 101.0, 103.0, 103.0, 159.9, 160.0)] == [0, 0, 2, 3, 3, 3, 4]


def test_those_are_soon_that_fall_due_within_ten_seconds() -> None:
    returning = Returning()
    for due in (101.0, 109.9, 110.0, 110.1, 500.0):
        returning.put_off(due)
    assert [returning.soon(now) for now in (90.0, 100.0, 101.0, 110.0, 490.0)] == [0, 3, 3, 1, 1]


def test_a_million_retries_take_the_memory_of_the_seconds_over_which_they_are_spread() -> None:
    returning = Returning()
    for n in range(1_000_000):
        returning.put_off(float(n % 50))
    assert len(returning._by_second) == len(returning._seconds) == 50
    assert returning.returned(50.0) == 1_000_000
    assert not returning._by_second


class Queue:
    """Steady traffic of which each job fails once: as many return as are published. managed: the broker tells what is published,
    in which there are no retries."""

    def __init__(self, *, managed: bool) -> None:
        self.managed = managed
        self.state: State = fresh(0.0, 0.0)

    def at(self, now: float, rate: float, asked: int) -> Decision:
        returned = rate * max(0.0, now - 20.0)  # each after 20 s
        running = 2 * rate if now > 20 else rate  # of 1 s each
        seen = Observation(
            wall=now,
            asked=asked,
            running=Figure(asked, now),
            ready=Figure(asked, now),
            ready_jobs=Figure(0, now),
            unacked=Figure(running, now),
            in_flight=Figure(running, now),
            completed=Figure(rate * now + returned, now),
            done=Figure(returned, now),
            busy_seconds=Figure(rate * now + returned, now),
            returned=Figure(returned, now),
            due_soon=Figure(rate * SOON_SECONDS if now > SOON_SECONDS else 0, now),
            takeable=Figure(asked, now),
        )
        seen = seen if not self.managed else replace(seen, published=Figure(rate * now, now))
        decision, self.state = decide(POLICY, self.state, seen, now)
        return decision


def test_arrivals_are_the_same_whichever_source_tells_them() -> None:
    told, derived = Queue(managed=True), Queue(managed=False)
    for now in range(1, 120):
        one, other = (queue.at(float(now), 40.0, 24) for queue in (told, derived))
    assert one.arrival_rate is not UNKNOWN
    assert other.arrival_rate is not UNKNOWN
    assert abs(one.arrival_rate - 80.0) < 4.0
    assert abs(other.arrival_rate - 80.0) < 4.0
    assert one.replicas == other.replicas


def test_retries_that_are_about_to_return_are_demand_beyond_what_arrives_anyway() -> None:
    def asks(due_soon: float) -> int:
        state, decision = fresh(0.0, 0.0), None
        for now in (1.0, 2.0, 3.0):
            none = Figure(0, now)
            seen = Observation(
                now,
                1,
                ready=Figure(1, now),
                ready_jobs=none,
                unacked=none,
                in_flight=none,
                completed=none,
                busy_seconds=none,
                published=none,
                due_soon=Figure(due_soon, now),
            )
            decision, state = decide(POLICY, state, seen, now)
        assert decision is not None
        return decision.replicas

    assert asks(0.0) == 1
    assert asks(1000.0) > 10
