"""A fleet that is never scaled: what a team pays that sizes for one load."""

from __future__ import annotations

from autoscaler.model import Observation


class Fixed:
    """The same number of replicas, always."""

    def __init__(self, replicas: int, *, interval: float = 60.0, name: str = "") -> None:
        self.name = name or f"fixed-{replicas}"
        self.interval = interval
        self._replicas = replicas

    def ask(self, seen: Observation, now: float) -> int:  # noqa: ARG002  # a fixed fleet looks at nothing
        """The same again."""
        return self._replicas
