"""The only place that reads a clock. Everything else is given a `Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Two clocks: `wall` for what is written down, `steady` for what is measured."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC. May step."""

    def steady(self) -> float:
        """Seconds since an arbitrary start. Never goes back."""


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    steady = staticmethod(time.monotonic)


class ManualClock:
    """A clock that moves when it is told to, for tests and simulations."""

    def __init__(self, wall: float = 1_750_000_000.0) -> None:
        self._wall = wall
        self._steady = 0.0

    def wall(self) -> float:
        return self._wall

    def steady(self) -> float:
        return self._steady

    def advance(self, seconds: float) -> None:
        """Let `seconds` (0 or more) pass on both clocks."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._wall += seconds
        self._steady += seconds


def rfc3339(at: float) -> str:
    """Unix seconds as an RFC 3339 timestamp in UTC, with milliseconds: `2026-01-31T09:30:00.250Z`."""
    seconds, milliseconds = divmod(round(at * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]


def from_rfc3339(text: str) -> float:
    """An RFC 3339 timestamp as Unix seconds. Raises ValueError for anything else, a missing offset included."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"no offset from UTC in {text!r}")
    return parsed.timestamp()
