"""Practo's worker-pod-autoscaler against its own tests, and a fixed fleet."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation
from core.errors import SettingsError
from simulator.rivals import Fixed, Practo
from simulator.rivals.practo import desired_workers, disruptable


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
    settings: dict[str, Any] = {
        "per_minute": 0.0,
        "seconds_per_job": 0.0,
        "per_worker": 10,
        "idle": 0,
        "minimum": 0,
        "maximum": 500,
    } | changed
    return desired_workers(messages=messages, current=current, max_disruption=disruption, **settings)


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
    """README, maxDisruption: of 500 workers 50 % is 250, 125 is 125; any other value is refused."""
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
    """No backlog: the minimum from the throughput; no replica at work: 0 at once; otherwise down by the disruption."""
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
