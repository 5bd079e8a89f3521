"""How fast the Kubernetes HPA may go: its `behavior` block, and the limits of an HPA that has none. Replicas and seconds.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/horizontal.go (functions are named below) and
pkg/apis/autoscaling/v2/defaults.go; https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/,
"Configurable scaling behavior".

The controller's loop waits its period after it is done, so that its turns are a little more than a period apart (15.02 s were
measured for 15): a value exactly as old as a window is here no longer in it, on both paths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class PolicyType(StrEnum):
    """The unit of a policy's value."""

    PODS = "Pods"
    PERCENT = "Percent"


class Select(StrEnum):
    """Which policy holds where there are several: MAX the one that allows the greatest change."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class Stamped(NamedTuple):
    """Replicas and when: a recommendation, or the size of a change (never negative)."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """At most `value` pods, or percent of what ran `period` seconds ago, in `period` seconds."""

    type: PolicyType
    value: int
    period: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction. stabilization: seconds. tolerance: part of the target; None takes the controller's (0.1)."""

    policies: tuple[ScalingPolicy, ...]
    stabilization: float
    select: Select = Select.MAX
    tolerance: float | None = None


# defaults.go, scaleUpRules and scaleDownRules: 4 pods or as many again in 15 s at once; all of them in 15 s after 300 s.
DEFAULT_UP: Final = ScalingRules((ScalingPolicy(PolicyType.PODS, 4, 15.0), ScalingPolicy(PolicyType.PERCENT, 100, 15.0)), 0.0)
DEFAULT_DOWN: Final = ScalingRules((ScalingPolicy(PolicyType.PERCENT, 100, 15.0),), 300.0)


@dataclass(frozen=True, slots=True)
class Behavior:
    """The `behavior` block; omitted fields have the API's defaults."""

    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN


@dataclass(frozen=True, slots=True)
class Bounds:
    """minReplicas and maxReplicas."""

    least: int
    most: int


def highest(log: Iterable[Stamped], desired: int, window: float, now: float) -> int:
    """The greatest recommendation of the last `window` seconds (stabilizeRecommendation).

    It is applied whatever the direction: an old, higher recommendation also scales out.
    """
    return max([desired, *(was.replicas for was in log if now - was.at < window)])


def without_behavior(current: int, desired: int, bounds: Bounds) -> int:
    """At most twice what runs, or 4, at a time (convertDesiredReplicasWithRules, calculateScaleUpLimit)."""
    most = min(bounds.most, max(2 * current, 4))
    return bounds.least if desired < bounds.least else min(desired, most)


def stabilized(behavior: Behavior, log: Sequence[Stamped], current: int, desired: int, now: float) -> int:
    """The running replicas, brought within the recommendations of both windows (stabilizeRecommendationWithBehaviors).

    From below by the least of the scale-up window, from above by the greatest of the scale-down window.
    """
    lowest = min([desired, *(was.replicas for was in log if now - was.at < behavior.up.stabilization)])
    return min(max(current, lowest), highest(log, desired, behavior.down.stabilization, now))


def limited(
    behavior: Behavior, ups: Sequence[Stamped], downs: Sequence[Stamped], current: int, desired: int, bounds: Bounds, now: float
) -> int:
    """`desired`, as far as the policies allow (convertDesiredReplicasWithBehaviorRate).

    ups, downs: the changes so far. A policy that was passed already stops the change, it never turns it round.
    """
    if desired > current:
        limit = max(up_limit(behavior.up, ups, downs, current, now), current)
        return min(desired, bounds.most, limit)
    if desired < current:
        limit = min(down_limit(behavior.down, ups, downs, current, now), current)
        return max(desired, bounds.least, limit)
    return desired


def up_limit(rules: ScalingRules, ups: Sequence[Stamped], downs: Sequence[Stamped], current: int, now: float) -> int:
    """The most replicas that the policies allow (calculateScaleUpLimitWithScalingRules). Percent is rounded up."""
    if rules.select is Select.DISABLED:
        return current
    allowed = []
    for policy in rules.policies:
        start = _period_start(ups, downs, current, policy.period, now)
        percent = policy.type is PolicyType.PERCENT
        allowed.append(math.ceil(start * (1 + policy.value / 100)) if percent else start + policy.value)
    return (min if rules.select is Select.MIN else max)(allowed, default=current)


def down_limit(rules: ScalingRules, ups: Sequence[Stamped], downs: Sequence[Stamped], current: int, now: float) -> int:
    """The fewest replicas that the policies allow (calculateScaleDownLimitWithBehaviors). Percent is cut off."""
    if rules.select is Select.DISABLED:
        return current
    allowed = []
    for policy in rules.policies:
        start = _period_start(ups, downs, current, policy.period, now)
        percent = policy.type is PolicyType.PERCENT
        allowed.append(math.trunc(start * (1 - policy.value / 100)) if percent else start - policy.value)
    return (max if rules.select is Select.MIN else min)(allowed, default=current)


def _period_start(ups: Sequence[Stamped], downs: Sequence[Stamped], current: int, period: float, now: float) -> int:
    return current - _changed(ups, period, now) + _changed(downs, period, now)


def _changed(events: Sequence[Stamped], period: float, now: float) -> int:
    """Replicas that came or went in the last `period` seconds (getReplicasChangePerPeriod)."""
    return sum(event.replicas for event in events if now - event.at < period)
