"""The Kubernetes HPA (autoscaling/v2) on one External metric with an AverageValue target.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler) and replica_calculator.go
(GetExternalPerPodMetricReplicas, Tolerances); pkg/controller/podautoscaler/config/v1alpha1/defaults.go for the defaults;
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/.

Not modelled: several metrics on one HPA; Resource, Pods and Object metrics, and with them unready and missing pods, which an
External metric does not look at; a rescale that the API server refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from autoscaler.model import Observation, Unknown
from simulator.rivals.figures import backlog, value
from simulator.rivals.hpa_rules import Behavior, Bounds, Stamped, highest, limited, stabilized, without_behavior

Metric = Callable[[Observation], float | Unknown]


def average_value_replicas(usage: float, target: float, replicas: int, tolerance_up: float, tolerance_down: float) -> int:
    """Replicas so that each has `target` of `usage`; as many as there are while the ratio is within the tolerances.

    GetExternalPerPodMetricReplicas: `replicas` is the workload's status, pods that exist, not what it was set to.
    The tolerances are parts of the target, each end included (Tolerances.isWithin).
    """
    ratio = usage / (target * replicas) if replicas else math.inf  # Go divides by 0: +Inf, or NaN, is within no tolerance
    within = 1.0 - tolerance_down <= ratio <= 1.0 + tolerance_up
    return replicas if within else math.ceil(usage / target)


class HPA:
    """One HPA. It is asked once in a sync.

    target: of the metric, for each replica. metric: reads it, jobs by default; while it is UNKNOWN the HPA does nothing.
    behavior: None is an HPA without the block, as KEDA writes it: twice what runs or 4 at a time, and the greatest recommendation
    of the last `stabilization` seconds, both ways. Behavior() is the block with the API's defaults.
    """

    def __init__(
        self,
        target: float,
        *,
        maximum: int,
        minimum: int = 1,
        metric: Metric = backlog,
        behavior: Behavior | None = None,
        tolerance: float = 0.1,
        sync: float = 15.0,
        stabilization: float = 300.0,
        name: str = "hpa",
    ) -> None:
        self.name = name
        self.interval = sync
        self._target = target
        self._bounds = Bounds(minimum, maximum)
        self._metric = metric
        self._behavior = behavior
        self._tolerances = _tolerances(behavior, tolerance)
        self._stabilization = stabilization
        self._log: list[Stamped] = []
        self._ups: list[Stamped] = []
        self._downs: list[Stamped] = []

    def ask(self, seen: Observation, now: float) -> int:
        """One turn of reconcileAutoscaler."""
        if not self._log:
            self._log.append(Stamped(now, seen.asked))  # recordInitialRecommendation: a restart does not shrink
        wanted = self._wanted(seen, now)
        self._remember(seen.asked, wanted, now)
        return wanted

    def _wanted(self, seen: Observation, now: float) -> int:
        current, bounds = seen.asked, self._bounds
        if current == 0 and bounds.least != 0:
            return 0  # scaling is disabled: 0 to 1 is somebody else's
        if not bounds.least <= current <= bounds.most:
            return min(max(current, bounds.least), bounds.most)
        usage = self._metric(seen)
        if isinstance(usage, Unknown):
            return current  # FailedComputeMetricsReplicas: nothing is done and nothing recorded
        return self._normalized(current, self._recommended(seen, usage), now)

    def _recommended(self, seen: Observation, usage: float) -> int:
        running = value(seen.running)
        exist = seen.asked if isinstance(running, Unknown) else int(running)
        return average_value_replicas(usage, self._target, exist, *self._tolerances)

    def _normalized(self, current: int, desired: int, now: float) -> int:
        """normalizeDesiredReplicas and normalizeDesiredReplicasWithBehaviors; the recorded value is not yet bounded."""
        if self._behavior is None:
            wanted = without_behavior(current, highest(self._log, desired, self._stabilization, now), self._bounds)
        else:
            steady = stabilized(self._behavior, self._log, current, desired, now)
            wanted = limited(self._behavior, self._ups, self._downs, current, steady, self._bounds, now)
        self._log.append(Stamped(now, desired))
        return wanted

    def _remember(self, current: int, wanted: int, now: float) -> None:
        if wanted > current:
            self._ups.append(Stamped(now, wanted - current))
        elif wanted < current:
            self._downs.append(Stamped(now, current - wanted))
        longest = _longest(self._behavior, self._stabilization)
        for log in (self._log, self._ups, self._downs):
            while len(log) > 1 and now - log[0].at >= longest:
                log.pop(0)


def _tolerances(behavior: Behavior | None, tolerance: float) -> tuple[float, float]:
    """Up and down. `tolerance` in the block since Kubernetes 1.33 (HPAConfigurableTolerance), one for both before."""
    if behavior is None:
        return tolerance, tolerance
    up, down = behavior.up.tolerance, behavior.down.tolerance
    return tolerance if up is None else up, tolerance if down is None else down


def _longest(behavior: Behavior | None, stabilization: float) -> float:
    """Seconds that anything remembered can still count."""
    if behavior is None:
        return stabilization
    rules = (behavior.up, behavior.down)
    return max([rule.stabilization for rule in rules] + [policy.period for rule in rules for policy in rule.policies])
