"""The decision of this project as a scaler, so that it runs beside its rivals."""

from __future__ import annotations

from autoscaler.decide import decide
from autoscaler.model import Decision, Observation, Policy
from autoscaler.state import State, fresh


class Ours:
    """decide() with its state. interval: seconds between two polls. last: the newest decision, for its reason."""

    def __init__(self, policy: Policy, *, interval: float = 1.0, name: str = "ours") -> None:
        self.name = name
        self.interval = interval
        self.last: Decision | None = None
        self._policy = policy
        self._state: State | None = None

    def ask(self, seen: Observation, now: float) -> int:
        if self._state is None:
            self._state = fresh(now, 0.0)  # a run begins with a controller that has been there for long
        self.last, self._state = decide(self._policy, self._state, seen, now)
        return self.last.replicas
