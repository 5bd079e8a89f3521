"""The HPA's arithmetic against Kubernetes' own tests: pkg/controller/podautoscaler/{replica_calculator,horizontal}_test.go."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation
from simulator.rivals import HPA, Behavior, PolicyType, ScalingPolicy, ScalingRules, Select
from simulator.rivals.hpa import average_value_replicas
from simulator.rivals.hpa_rules import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Bounds,
    Stamped,
    down_limit,
    highest,
    limited,
    stabilized,
    up_limit,
    without_behavior,
)


def seen(asked: int, ready: float | None, running: int | None = None) -> Observation:
    """A queue of `ready` jobs; None is a queue that cannot be read."""
    return Observation(
        wall=0.0,
        asked=asked,
        running=Figure(asked if running is None else running, 0.0),
        ready_jobs=UNKNOWN if ready is None else Figure(ready, 0.0),
        unacked=Figure(0.0, 0.0),
    )


def rules(pods: int, pods_period: float, percent: int, percent_period: float, stabilization: float) -> ScalingRules:
    """generateScalingRules of horizontal_test.go."""
    policies = []
    if pods:
        policies.append(ScalingPolicy(PolicyType.PODS, pods, pods_period))
    if percent:
        policies.append(ScalingPolicy(PolicyType.PERCENT, percent, percent_period))
    return ScalingRules(tuple(policies), stabilization)


@pytest.mark.parametrize(
    ("replicas", "usage", "target", "up", "wanted"),
    [
        (3, 8600, 2150, 0.1, 4),
        (5, 8600, 2867, 0.1, 3),
        (3, 8600, 2900, 0.1, 3),
        (3, 8600, 2800, 0.01, 4),
    ],
)
def test_an_average_value_is_divided(replicas: int, usage: float, target: float, up: float, wanted: int) -> None:
    """TestReplicaCalcExternalPerPodMetric: scale up, scale down, within tolerance, outside a configured 1 %."""
    assert average_value_replicas(usage, target, replicas, up, 0.1) == wanted


@pytest.mark.parametrize(("usage", "wanted"), [(110, 10), (110.5, 12), (90, 10), (89.5, 9), (0, 0)])
def test_the_tolerance_includes_its_ends(usage: float, wanted: int) -> None:
    """Tolerances.isWithin: 0.9 <= ratio <= 1.1 changes nothing."""
    assert average_value_replicas(usage, 10, 10, 0.1, 0.1) == wanted


@pytest.mark.parametrize(("usage", "wanted"), [(25, 3), (0, 0)])
def test_no_replicas_are_within_no_tolerance(usage: float, wanted: int) -> None:
    """Go's division by 0 gives +Inf or NaN, and neither is within."""
    assert average_value_replicas(usage, 10, 0, 0.1, 0.1) == wanted


@pytest.mark.parametrize(
    ("current", "desired", "least", "most", "wanted"),
    [(5, 7, 3, 8, 7), (3, 1, 2, 8, 2), (1, 0, 0, 10, 0), (20, 1000, 1, 10, 10), (3, 1000, 1, 2000, 6), (1, 30, 1, 30, 4)],
)
def test_without_a_behavior_it_doubles_or_takes_four(current: int, desired: int, least: int, most: int, wanted: int) -> None:
    """TestConvertDesiredReplicasWithRules; the last is the first step of the measured run."""
    assert without_behavior(current, desired, Bounds(least, most)) == wanted


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        ([], 3),
        ([(4, 120), (5, 60)], 5),
        ([(1, 120), (2, 60)], 3),
        ([(10, 600), (9, 540)], 3),
        ([(10, 600), (4, 60), (5, 120), (9, 540)], 5),
    ],
)
def test_the_highest_recent_recommendation_counts(log: list[tuple[int, float]], wanted: int) -> None:
    """TestNormalizeDesiredReplicas: 3 is desired, the window is 5 minutes; each pair is a recommendation and its age."""
    stamped = [Stamped(1000.0 - age, replicas) for replicas, age in log]
    assert highest(stamped, 3, 300.0, 1000.0) == wanted


class Rate(NamedTuple):
    """One row of TestScalingWithRules. ups, downs: changes, spread over the last 120 s."""

    current: int
    desired: int
    least: int
    most: int
    wanted: int
    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN
    ups: tuple[int, ...] = ()
    downs: tuple[int, ...] = ()


def spread(changes: tuple[int, ...]) -> list[Stamped]:
    """generateEventsUniformDistribution, over 120 s before now, which is 0."""
    width = 120.0 / len(changes) if changes else 0.0
    return [Stamped(-(120.0 - width * (index + 0.5)), change) for index, change in enumerate(changes)]


@pytest.mark.parametrize(
    "row",
    [
        Rate(5, 7, 3, 8, 7),
        Rate(3, 1, 2, 8, 2),
        Rate(1, 0, 0, 10, 0),
        Rate(100, 1000, 100, 150, 150),
        Rate(3, 1000, 1, 2000, 4, up=rules(0, 0, 1, 60, 0)),
        Rate(1000, 3, 3, 2000, 980, down=rules(20, 60, 0, 0, 0)),
        Rate(10, 50, 1, 1000, 20),
        Rate(10, 500, 1, 1000, 110, up=rules(100, 60, 100, 60, 0)),
        Rate(10, 500, 1, 1000, 20, up=rules(2, 60, 100, 60, 0)),
        Rate(10, 50, 1, 1000, 40, up=rules(30, 60, 0, 0, 0)),
        Rate(10, 50, 1, 1000, 30, up=rules(0, 0, 200, 60, 0)),
        Rate(100, 2, 1, 1000, 80, down=rules(20, 60, 1, 60, 300)),
        Rate(100, 2, 1, 1000, 98, down=rules(2, 60, 1, 60, 300)),
        Rate(10, 0, 1, 1000, 1, down=rules(100, 60, 0, 0, 300)),
        Rate(10, 2, 5, 1000, 5, down=rules(0, 0, 100, 60, 300)),
        Rate(10, 2, 1, 1000, 5, down=rules(5, 60, 0, 0, 300)),
        Rate(10, 5, 1, 1000, 5, down=rules(0, 0, 50, 60, 300)),
        Rate(100, 500, 1, 200, 200, up=rules(300, 60, 0, 0, 0), ups=(1, 5, 9)),
        Rate(100, 500, 1, 1000, 100, up=rules(5, 120, 0, 0, 0), ups=(1, 5, 9)),
        Rate(100, 500, 1, 1000, 235, up=rules(150, 120, 0, 0, 0), ups=(1, 5, 9)),
        Rate(100, 500, 1, 1000, 255, up=rules(0, 0, 200, 120, 0), ups=(1, 5, 9)),
        Rate(10, 5, 1, 1000, 5, downs=(1, 5, 9)),
        Rate(100, 0, 5, 1000, 5, down=rules(130, 120, 0, 0, 300), downs=(1, 5, 9)),
        Rate(100, 2, 1, 1000, 100, down=rules(5, 120, 0, 0, 300), downs=(1, 5, 9)),
        Rate(100, 0, 1, 1000, 56, down=rules(0, 0, 50, 120, 300), downs=(2, 4, 6)),
        Rate(100, 0, 1, 1000, 100, down=rules(0, 0, 10, 120, 300), downs=(10, 10, 10)),
        Rate(10, 5, 1, 1000, 5, down=rules(0, 0, 1000, 120, 300), downs=(10, 10, 10)),
    ],
)
def test_policies_limit_the_rate(row: Rate) -> None:
    """TestScalingWithRules, row by row."""
    behavior, bounds = Behavior(row.up, row.down), Bounds(row.least, row.most)
    assert limited(behavior, spread(row.ups), spread(row.downs), row.current, row.desired, bounds, 0.0) == row.wanted


def test_the_least_change_can_be_selected() -> None:
    """TestCalculateScaleUpLimitWithScalingRules and TestCalculateScaleDownLimitWithBehaviors: 2 pods or 50 %, Min."""
    pair = rules(2, 60, 50, 60, 300)
    least = ScalingRules(pair.policies, pair.stabilization, Select.MIN)
    assert up_limit(least, [], [], 1, 0.0) == 2
    assert down_limit(least, [], [], 5, 0.0) == 3


def test_a_disabled_direction_stays() -> None:
    """selectPolicy: Disabled."""
    never = ScalingRules((), 0.0, Select.DISABLED)
    assert up_limit(never, [], [], 7, 0.0) == down_limit(never, [], [], 7, 0.0) == 7


def test_both_windows_hold_what_runs_between_them() -> None:
    """stabilizeRecommendationWithBehaviors: up by the least of 60 s, down by the greatest of 300 s."""
    behavior = Behavior(up=rules(0, 0, 100, 15, 60))
    log = [Stamped(900.0, 8), Stamped(970.0, 5)]
    assert stabilized(behavior, log, 4, 10, 1000.0) == 5  # 8 is older than the scale-up window
    assert stabilized(behavior, log, 9, 2, 1000.0) == 8
    assert stabilized(behavior, log, 6, 2, 1000.0) == 6


def test_an_old_recommendation_scales_out_without_a_behavior_and_not_with_it() -> None:
    """The measured fact of bench/traces: it asked for 30 with some 1,000 messages left. With `behavior` it holds what runs."""
    for behavior, wanted in ((None, 16), (Behavior(), 8)):
        hpa = HPA(1000.0, maximum=30, behavior=behavior)
        assert hpa.ask(seen(4, 28_000), 0.0) == 8
        assert hpa.ask(seen(8, 1_000), 15.0) == wanted


def test_what_cannot_be_read_changes_and_records_nothing() -> None:
    """reconcileAutoscaler returns with FailedComputeMetricsReplicas before anything is normalized."""
    hpa = HPA(10.0, maximum=30)
    assert hpa.ask(seen(5, None), 0.0) == 5
    assert hpa.ask(seen(5, 0), 300.0) == 1  # the first turn's 5 is 300 s old, and nothing came since


def test_the_first_turn_remembers_what_ran() -> None:
    """recordInitialRecommendation: a controller that starts again does not shrink for 300 s."""
    hpa = HPA(10.0, maximum=30)
    asked = [hpa.ask(seen(9, 0), float(second)) for second in range(0, 315, 15)]
    assert asked == [9] * 20 + [1]


@pytest.mark.parametrize(("asked", "wanted"), [(0, 0), (1, 2), (50, 30)])
def test_zero_is_off_and_bounds_come_first(asked: int, wanted: int) -> None:
    """reconcileAutoscaler: ScalingDisabled at 0; outside its bounds it goes straight to them."""
    assert HPA(10.0, minimum=2, maximum=30).ask(seen(asked, 1e6), 0.0) == wanted


def test_a_tolerance_of_one_direction() -> None:
    """HPAConfigurableTolerance: 5 % more is enough with 0.01, and 5 % less is not with the controller's 0.1."""
    careful = ScalingRules(DEFAULT_UP.policies, 0.0, tolerance=0.01)
    hpa = HPA(100.0, maximum=30, behavior=Behavior(up=careful, down=rules(0, 0, 100, 15, 0)))
    assert hpa.ask(seen(10, 1_050), 0.0) == 11
    assert hpa.ask(seen(10, 950), 15.0) == 10


def test_the_ratio_is_of_the_pods_that_exist() -> None:
    """statusReplicas, not what was asked: 8 of 10 exist, and 800 jobs are right for 8."""
    assert HPA(100.0, maximum=30, stabilization=0.0).ask(seen(10, 800, running=8), 0.0) == 8


def test_events_of_a_policys_period_are_remembered() -> None:
    """4 pods in 60 s: the second step has to wait for the first to be 60 s old."""
    hpa = HPA(1.0, maximum=100, behavior=Behavior(up=rules(4, 60, 0, 0, 0)))
    asked = 1
    history = []
    for second in range(0, 75, 15):
        asked = hpa.ask(seen(asked, 1000), float(second))
        history.append(asked)
    assert history == [5, 5, 5, 5, 9]
