"""The interface of every policy to the simulator: ours, its rivals, a fixed fleet."""

from __future__ import annotations

from typing import Protocol

from autoscaler.model import Observation


class Scaler(Protocol):
    """Something that says how many replicas there should be. It keeps what it remembers; each run begins with a new one.

    name: for tables and plots. interval: seconds between two polls; the first one is at 0.
    """

    name: str
    interval: float

    def ask(self, seen: Observation, now: float) -> int:
        """Replicas wanted now. now: seconds since the run began."""
