"""Knative's KPA against its own tests: knative/serving pkg/autoscaler/scaling/autoscaler_test.go; windows against bucketing.go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation
from simulator.rivals import KPA
from simulator.rivals.kpa_window import Greatest, WindowAverage


def seen(asked: int, jobs: float | None, ready: int | None = None) -> Observation:
    """Jobs ready and unacked; None cannot be read. ready: pods, as many as asked if not given."""
    return Observation(
        wall=0.0,
        asked=asked,
        ready=Figure(asked if ready is None else ready, 0.0),
        ready_jobs=UNKNOWN if jobs is None else Figure(jobs, 0.0),
        unacked=Figure(0.0, 0.0),
    )


class Changed(TypedDict, total=False):
    max_scale_up_rate: float
    max_scale_down_rate: float
    scale_down_delay: float
    panic_threshold_percentage: float


def sized(target: float, **changed: Unpack[Changed]) -> KPA:
    """newTestAutoscaler: 10 times up and down at most, panic at twice the target, 60 s."""
    settings: Changed = {"max_scale_up_rate": 10.0, "max_scale_down_rate": 10.0, **changed}
    kpa = KPA(target=target, utilisation=1.0, **settings)
    kpa._begin(1, 0.0)  # its pod counter says 1 when it is made
    return kpa


@pytest.mark.parametrize(
    ("target", "stable", "panic", "ready", "wanted"),
    [
        (10, 0, 0, 1, 0),  # AutoscalerNoDataAtZeroNoAutoscale
        (181, 21, 26, 1, 1),  # AutoscalerStableModeUnlimitedTBC
        (10, 50, 49, 1, 5),  # Autoscaler0TBC
        (10, 50, 50, 1, 5),  # AutoscalerStableModeNoChange
        (10, 50, 50, 5, 5),  # AutoscalerStableModeNoChangeAlreadyScaled
        (10, 50, 100, 1, 10),  # AutoscalerPanicModeDoublePodCount
        (10, 1000, 1001, 1, 10),  # TestAutoscalerRateLimitScaleUp
        (10, 1000, 1001, 10, 100),
        (10, 1, 1, 100, 10),  # TestAutoscalerRateLimitScaleDown
        (10, 1, 1, 10, 1),
        (10, 1000, 888, 0, 10),  # TestAutoscalerUseOnePodAsMinimumIfEndpointsNotFound
        (10, 50, 10, 1, 5),  # TestAutoscalerStableModeIncreaseWithConcurrencyDefault
        (10, 100, 10, 1, 10),
        (10, 1, 0, 1, 1),  # TestAutoscalerStableModeNoTrafficScaleToZero
    ],
)
def test_one_decision(target: float, stable: float, panic: float, ready: int, wanted: int) -> None:
    """TestAutoscalerScale and the others named in each line."""
    assert sized(target).pods(stable, panic, ready, 0.0) == wanted


def test_slow_rates_still_move() -> None:
    """TestAutoscalerScale, ...WithSmallScaleUpRate (1.1 of 2 pods is 3) and ...WithSmallScaleDownRate (100 to 90)."""
    assert sized(1, max_scale_up_rate=1.1).pods(3, 3.1, 2, 0.0) == 3
    assert sized(10, max_scale_down_rate=1.1).pods(1, 1, 100, 0.0) == 90


@pytest.mark.parametrize(("stable", "panic", "wanted"), [(50, 30, 50), (20, 30, 30)])
def test_in_panic_the_larger_counts(stable: float, panic: float, wanted: int) -> None:
    """AutoscalerPanicStableLargerThanPanic and AutoscalerPanicStableLessThanPanic: 5 pods, in panic since 5 s."""
    kpa = KPA(target=1.0, utilisation=1.0)
    kpa._begin(5, 0.0)
    assert kpa.pods(stable, panic, 5, 5.0) == wanted


def test_panic_tracks_an_exponential_load() -> None:
    """TestAutoscalerPanicModeExponentialTrackAndStabilize."""
    kpa = sized(1)
    steps = ((6, 1), (36, 6), (216, 36), (1296, 216), (1296, 1296))
    assert [kpa.pods(load, load, ready, second) for second, (load, ready) in enumerate(steps)] == [6, 36, 216, 1296, 1296]


def test_panic_ends_a_stable_window_later() -> None:
    """TestAutoscalerPanicThenUnPanicScaleDown: never down in panic, down 61 s after it was last over the threshold."""
    kpa = sized(10)
    assert kpa.pods(100, 100, 1, 0.0) == 10
    assert kpa.pods(100, 1000, 10, 0.0) == 100
    assert kpa.pods(1, 1, 10, 30.0) == 100
    assert kpa.pods(1, 1, 10, 60.0) == 100  # exactly a window is not over
    assert kpa.pods(1, 1, 10, 61.0) == 1


def test_a_slow_increase_ends_the_panic_and_a_surge_prolongs_it() -> None:
    """TestAutoscalerUnpanicAfterSlowIncrease and TestAutoscalerExtendPanicWindow."""
    slow = sized(1)
    assert slow.pods(11, 25, 10, 0.0) == 25
    assert slow.pods(30, 41, 40, 30.0) == 41
    assert slow.pods(50, 56, 55, 62.0) == 50
    surge = sized(1)
    assert surge.pods(11, 25, 10, 0.0) == 25
    assert surge.pods(30, 80, 40, 30.0) == 80
    assert surge.pods(30, 30, 80, 62.0) == 80  # 32 s after the last surge


def test_it_starts_in_panic_over_one_pod() -> None:
    """TestStartInPanicMode: a restart at 8 pods keeps them for a window, at 1 it does not."""
    assert KPA().pods(0, 0, 8, 0.0) == 8
    assert KPA().pods(0, 0, 1, 0.0) == 0


def test_the_scale_down_delay() -> None:
    """TestAutoscalerScaleDownDelay, "simple" and "gradual"; minutes to seconds."""
    kpa = sized(10, scale_down_delay=300.0, panic_threshold_percentage=10_000.0)
    loads = ((2, 40, 4), (300, 0, 4), (302, 0, 0), (540, 40, 4), (600, 30, 4), (660, 0, 4), (840, 0, 3), (900, 0, 0))
    assert [kpa.pods(load, load, 0, float(at)) for at, load, _ in loads] == [wanted for _, _, wanted in loads]


def test_a_window_fills_and_forgets() -> None:
    """WindowAverage: a window that is not full is averaged over what there is; then one value leaves with each that comes."""
    window = WindowAverage(6.0, 1.0)
    averages = []
    for second in range(8):
        window.record(float(second), 12.0 if second < 2 else 0.0)
        averages.append(window.average(float(second)))
    assert averages == [12.0, 12.0, 8.0, 6.0, 4.8, 4.0, 2.0, 0.0]


def test_gaps_of_a_window() -> None:
    """bucketing.go: a gap inside counts as 0, one at the end shortens the window, a whole window of silence is no data."""
    window = WindowAverage(6.0, 1.0)
    assert window.average(0.0) is UNKNOWN
    window.record(0.0, 12.0)
    window.record(3.0, 12.0)
    assert window.average(3.0) == 6.0  # two of four buckets
    assert window.average(6.0) == 4.0  # the first is gone; of the three that are left one has a value
    assert window.average(9.0) is UNKNOWN
    window.record(20.0, 5.0)
    assert window.average(20.0) == 5.0  # a new start


def test_an_average_is_cut_to_six_digits() -> None:
    """roundToNDigits: a third of 10 is 3.333333."""
    window = WindowAverage(3.0, 1.0)
    for second, value in enumerate((10.0, 0.0, 0.0)):
        window.record(float(second), value)
    assert window.average(2.0) == 3.333333


def test_the_greatest_of_a_window() -> None:
    """max/window.go: a value as old as the window is gone."""
    greatest = Greatest(10.0)
    assert [greatest.of(wanted, at) for wanted, at in ((4, 0.0), (2, 5.0), (1, 9.0), (1, 10.0), (3, 12.0))] == [4, 4, 4, 2, 3]


def run(kpa: KPA, asked: int, jobs: Sequence[float | None]) -> list[int]:
    """One value of the queue a second; pods are ready at once."""
    history = []
    for second, waiting in enumerate(jobs):
        asked = kpa.ask(seen(asked, waiting), float(second))
        history.append(asked)
    return history


def test_a_burst_at_the_documented_defaults() -> None:
    """1,000 jobs at one pod, 70 of 100 aimed at. The panic window's 6 s: 167 after 1 s is 3 pods, 1,000 after 6 s is 15."""
    history = run(KPA(), 1, [0.0] * 60 + [1000.0] * 10)
    assert history[59] == 1
    assert history[62] == 8  # at the tick of 62: 3 of 6 s, 500 / 70
    assert history[66] == 15


def test_from_zero_the_first_job_is_a_poke() -> None:
    """multiscaler.go, Poke: not at the next tick of 2 s. An odd second is none."""
    assert run(KPA(), 0, [0.0, 0.0, 0.0, 1.0]) == [0, 0, 0, 1]


def test_to_zero_after_window_and_grace() -> None:
    """handleScaleToZero: the average of 60 s has to be 0, then 30 s inactive; 3 pods go to 2 and 1 sooner, 0 is the last."""
    history = run(KPA(), 1, [1.0] * 70 + [0.0] * 100)
    assert history[69] == 1
    first = history.index(0)
    assert first == 160  # 69 + 60, at the next tick 130, and 30 s of grace
    assert history[first:] == [0] * (170 - first)


def test_work_ends_the_way_to_zero() -> None:
    """A job within the grace period: active again, and another window has to pass."""
    history = run(KPA(), 1, [1.0] * 70 + [0.0] * 70 + [1.0] + [0.0] * 80)
    assert 0 not in history


def test_bounds() -> None:
    """applyBounds: minScale keeps it up, maxScale of 0 is no limit."""
    assert run(KPA(minimum=2), 2, [0.0] * 200)[-1] == 2
    assert run(KPA(maximum=5), 1, [7000.0] * 20)[-1] == 5
    assert run(KPA(), 1, [7000.0] * 20)[-1] == 100


def test_without_a_count_of_pods_or_a_metric_it_holds() -> None:
    """TestCantCountPods and TestAutoscalerNoDataNoAutoscale; a blindness shorter than the window lives on what it had."""
    kpa = KPA()
    assert kpa.ask(Observation(wall=0.0, asked=4, ready_jobs=Figure(1e6, 0.0), unacked=Figure(0.0, 0.0)), 0.0) == 4
    assert run(KPA(), 4, [None] * 100) == [4] * 100
    assert run(KPA(target=10.0, minimum=1), 4, [28.0] * 100 + [None] * 200)[-1] == 4
