"""A fleet that does not scale: the line that every policy is measured against."""

from __future__ import annotations

from math import ceil

from autoscaler.model import Observation
from simulator.world import World


class Fixed:
    """Always the same number of replicas."""

    def __init__(self, replicas: int, interval: float = 15.0) -> None:
        self.name = f"fixed {replicas}"
        self.interval = interval
        self._replicas = replicas

    def ask(self, seen: Observation, now: float) -> int:  # noqa: ARG002 - it looks at nothing
        return self._replicas


def replicas_for(world: World, rate: float, utilisation: float = 0.8) -> int:
    """Replicas that serve `rate` (jobs/s) when each is busy for this part of its time; at least 1."""
    return max(1, ceil(rate / (world.replica_rate * utilisation) - 1e-9))
