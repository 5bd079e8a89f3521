"""When Knative lets the last pods of a workload go. Seconds and replicas.

Source: knative/serving pkg/reconciler/autoscaling/kpa/scaler.go (handleScaleToZero); the activator is taken to be in the path as
soon as the workload is marked inactive.
"""

from __future__ import annotations

from simulator.rivals.figures import SLACK


class ToZero:
    """Active for at least a stable window, then inactive for the grace period, then 0. A wish for more ends it."""

    def __init__(self, stable_window: float, grace: float) -> None:
        self._stable_window = stable_window
        self._grace = grace
        self._active_since: float | None = None
        self._inactive_since: float | None = None

    def held(self, wanted: int, asked: int, ready: int, now: float) -> int:
        """`wanted`, or what is kept instead of 0."""
        if wanted > 0:
            self._inactive_since = None
        if self._inactive_since is None and self._active_since is None and ready > 0:
            self._active_since = now
        return wanted if wanted > 0 or asked == 0 else self._towards_zero(asked, now)

    def _towards_zero(self, asked: int, now: float) -> int:
        if self._inactive_since is not None:
            return 0 if now - self._inactive_since >= self._grace - SLACK else asked
        if self._active_since is None:
            return asked  # activating: no pod is ready yet
        if now - self._active_since < self._stable_window - SLACK:
            return 1
        self._active_since, self._inactive_since = None, now
        return asked
