"""Practo's worker-pod-autoscaler against its own tests, a fixed fleet, and the oracle against what can be counted by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import accumulate

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation
from autoscaler.rivals import Fixed, Oracle, Practo
from autoscaler.rivals.oracle import due_by, level
from autoscaler.rivals.practo import desired_workers, disruptable
from jobs.errors import SettingsError


def seen(asked: int, jobs: float | None, now: float = 0.0, sent: float = 0.0, done: float = 0.0) -> Observation:
    """Jobs ready; None cannot be read. sent, done: the counters at `now`."""
    return Observation(
        wall=0.0,
        asked=asked,
        ready_jobs=UNKNOWN if jobs is None else Figure(jobs, now),
        unacked=Figure(0.0, now),
        published=Figure(sent, now),
        completed=Figure(done, now),
    )


def desired(messages: float, current: int, disruption: str = "100%", **changed: float) -> int:
    """GetDesiredWorkers with the settings of TestScaleForLongRunningWorkersTakingMinutesToProcess."""
    settings = {"per_minute": 0.0, "seconds_per_job": 0.0, "per_worker": 10, "idle": 0, "minimum": 0, "maximum": 500} | changed
    return desired_workers(messages=messages, current=current, max_disruption=disruption, **settings)  # type: ignore[arg-type]  # ints


def test_practo_few_messages_scale_down_by_the_disruption() -> None:
    """TestScaleDownWhenQueueMessagesLessThanTarget."""
    assert desired(10, 20, "10%", per_minute=10, seconds_per_job=0.3, per_worker=200, maximum=20) == 18


def test_practo_a_calculated_minimum_above_the_maximum() -> None:
    """TestScaleUpWhenCalculatedMinIsGreaterThanMax: 2136 a minute of 10 s each would be 356."""
    assert desired(1, 10, "0%", per_minute=2136, seconds_per_job=10, per_worker=2500, minimum=2, maximum=20) == 20


def test_practo_long_jobs() -> None:
    """TestScaleForLongRunningWorkersTakingMinutesToProcess, its four loops."""
    assert desired(100, 0, "0%") == 10
    assert desired(100, 10, "0%") == 10
    assert desired(50, 10, "0%") == 10
    assert desired(50, 10, "100%") == 5


@pytest.mark.parametrize(
    ("disruption", "workers"), [("50%", 250), ("125", 125), ("0%", 0), ("1%", 5), ("0.5%", None), ("-1", None)]
)
def test_practo_max_disruption(disruption: str, workers: int | None) -> None:
    """README, maxDisruption: of 500 workers 50 % is 250, 125 is 125; what is neither is refused."""
    if workers is None:
        with pytest.raises(SettingsError):
            Practo(1, minimum=0, maximum=1, max_disruption=disruption)
    else:
        assert disruptable(disruption, 500) == workers


def test_practo_a_percentage_is_rounded_up() -> None:
    """GetValueFromIntOrPercent with roundUp: 10 % of 11 is 2."""
    assert disruptable("10%", 11) == 2


@pytest.mark.parametrize(("messages", "wanted"), [(110, 10), (111, 12), (90, 10), (89, 9), (80, 8)])
def test_practo_the_tolerance(messages: float, wanted: int) -> None:
    """isChangeTooSmall: of 10 workers 9 and 11 are no change. 89 / 10 is 9 and stays 10."""
    assert desired(messages, 10) == (10 if wanted in (9, 10, 11) else wanted)


def test_practo_an_empty_queue() -> None:
    """No backlog: the minimum from the throughput; nobody at work: 0 at once; otherwise down by the disruption."""
    assert desired(0, 20, per_minute=600, seconds_per_job=0.5) == 5
    assert desired(0, 20, "10%", idle=20) == 0
    assert desired(0, 20, "10%") == 18
    assert desired(0, 20, "10%", idle=20, minimum=3) == 3


def test_practo_scales_up_at_once_and_down_after_the_delay() -> None:
    """TestScaleOperation: up and the first step down are free, the next step down waits; exactly the delay is not over it."""
    practo = Practo(10, minimum=0, maximum=100, scale_down_delay=40.0)
    assert practo.ask(seen(10, 50, 0.0), 0.0) == 5  # lastScaleTime is nil
    assert practo.ask(seen(5, 20, 20.0), 20.0) == 5
    assert practo.ask(seen(5, 20, 40.0), 40.0) == 5
    assert practo.ask(seen(5, 100, 60.0), 60.0) == 10
    assert practo.ask(seen(10, 50, 80.0), 80.0) == 10
    assert practo.ask(seen(10, 50, 120.0), 120.0) == 5


def test_practo_reads_the_minute() -> None:
    """600 a minute of 0.5 s each keep 5 workers with an empty queue, once they are counted."""
    practo = Practo(10, minimum=0, maximum=100, seconds_per_job=0.5, scale_down_delay=0.0)
    asked = 8
    for step in range(5):
        now, count = 20.0 * step, 200.0 * step
        asked = practo.ask(seen(asked, 1.0 if step == 0 else 0.0, now, count, count), now)
    assert asked == 5


def test_practo_to_zero_when_nobody_works() -> None:
    """idleWorkers is all of them: nothing waits and nothing was completed in the last minute. 600 s after the last scaling."""
    practo = Practo(10, minimum=0, maximum=100, max_disruption="10%")
    assert practo.ask(seen(0, 100, 0.0), 0.0) == 10
    assert practo.ask(seen(10, 0, 600.0, done=100.0), 600.0) == 10
    assert practo.ask(seen(10, 0, 620.0, done=100.0), 620.0) == 9  # completed within the last samples: not idle
    assert practo.ask(seen(9, 0, 1240.0, done=100.0), 1240.0) == 0


def test_practo_holds_what_cannot_be_read() -> None:
    """Our reading: a queue that is unknown changes nothing."""
    assert Practo(10, minimum=0, maximum=100).ask(seen(7, None), 0.0) == 7
    blind = Observation(wall=0.0, asked=7, ready_jobs=Figure(0.0, 0.0), unacked=Figure(0.0, 0.0))
    assert Practo(10, minimum=0, maximum=100, seconds_per_job=1.0).ask(blind, 0.0) == 7


def test_a_fixed_fleet() -> None:
    """As many whatever is seen."""
    fleet = Fixed(7)
    assert (fleet.name, fleet.ask(seen(1, 1e9), 0.0), fleet.ask(seen(9, None), 60.0)) == ("fixed-7", 7, 7)


def fleet_of(oracle: Oracle, seconds: int) -> list[int]:
    """What it asks for in each second."""
    return [oracle.ask(seen(0, None), float(second)) for second in range(seconds)]


def late(arrivals: Sequence[float], asks: Sequence[int], rate: float, startup: int, objective: int) -> list[int]:
    """Seconds whose jobs were not all done `objective` seconds after they began. A replica works from `startup` after its ask.

    First come, first served; a replica that is not asked for any more is gone at once.
    """
    arrived, done, missed = list(accumulate(arrivals)), 0.0, []
    for second in range(len(asks)):
        ready = min(asks[max(0, second - startup) : second + 1])
        done = min(arrived[min(second, len(arrived) - 1)], done + ready * rate)
        first = second - objective + 1
        if 0 <= first < len(arrived) and done < arrived[first] - 1e-6:
            missed.append(first)
    return missed


def test_the_oracle_of_a_steady_load() -> None:
    """200 jobs/s at 100 a replica are 2 from a start-up before they are needed; the work itself is the bound."""
    oracle = Oracle([200.0] * 60, rate=100.0, startup=3.0, objective=5.0, maximum=10)
    asks = fleet_of(oracle, 64)
    assert oracle.least_pod_seconds == 120.0
    assert asks[10:50] == [2] * 40
    assert sum(asks) <= 120 + 2 * 4


def test_the_oracle_works_off_a_burst_as_late_as_it_may() -> None:
    """1,000 jobs in second 20, 5 s, 100 jobs/s: 2 replicas for 5 s, asked for 3 s before."""
    arrivals = [0.0] * 20 + [1000.0] + [0.0] * 20
    asks = fleet_of(Oracle(arrivals, rate=100.0, startup=3.0, objective=5.0, maximum=10), 45)
    assert max(asks) == 2
    assert [second for second, replicas in enumerate(asks) if replicas] == list(range(17, 25))


def test_the_oracle_begins_sooner_where_the_maximum_binds() -> None:
    """What is due in second 9 is more than 3 replicas do in one: the rest is due sooner, yet not before it came."""
    arrived = [0.0] * 5 + [900.0] * 2
    due = due_by(arrived, 4, 300.0)
    assert due == [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 300.0, 600.0, 900.0, 900.0]
    assert level(arrived, due, 100.0, 3, 0) == [0] * 7 + [3, 3, 3, 0]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("startup", "objective"), [(0, 1), (3, 5), (7, 2), (7, 30)])
def test_the_oracle_is_never_late(seed: int, startup: int, objective: int) -> None:
    """Bursty arrivals that the maximum can do: after the first start-up no second's jobs are late, and the work is the bound."""
    dice = random.Random(seed)
    arrivals = [0.0] * startup + [dice.choice((0.0, 0.0, 30.0, 120.0, 900.0)) for _ in range(200)]
    oracle = Oracle(arrivals, rate=100.0, startup=float(startup), objective=float(objective), maximum=40)
    asks = fleet_of(oracle, len(arrivals) + objective)
    assert late(arrivals, asks, 100.0, startup, objective) == []
    assert sum(asks) >= math.ceil(oracle.least_pod_seconds)


def test_the_oracle_does_what_it_can() -> None:
    """More than the maximum can do in time: all of it is asked for until the work is done, and then none."""
    asks = fleet_of(Oracle([0.0, 0.0, 5000.0] + [0.0] * 60, rate=100.0, startup=2.0, objective=5.0, maximum=10), 60)
    assert asks[:7] == [10] * 7
    assert asks[10] == 0


def test_the_oracle_after_the_end_and_its_minimum() -> None:
    """Beyond what it was told it asks for the minimum."""
    oracle = Oracle([0.0] * 5, rate=100.0, startup=1.0, objective=1.0, maximum=10, minimum=1)
    assert fleet_of(oracle, 20) == [1] * 20
