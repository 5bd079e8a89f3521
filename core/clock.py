"""The only place that reads a clock. Everything else is given a `Clock`."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol


class BootTime(NamedTuple):
    """Seconds since a machine's boot, and which boot: a time that one process writes down can be compared by another on this
    machine."""

    boot: str
    seconds: float


class Clock(Protocol):
    """Three clocks: `wall` for what is written down, `steady` for what is measured, `boot` for what processes share."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC. May step."""

    def steady(self) -> float:
        """Seconds since an arbitrary start. Never goes back."""

    def boot(self) -> BootTime:
        """The same for every process of a machine. Never goes back, and never steps with the wall clock."""


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    steady = staticmethod(time.monotonic)

    def boot(self) -> BootTime:
        # Where there is no CLOCK_BOOTTIME (macOS), the monotonic clock counts from the boot as well, without sleep.
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return BootTime(_boot_id(), time.monotonic() if clock is None else time.clock_gettime(clock))


@cache
def _boot_id() -> str:
    """Linux tells it; elsewhere this process knows only itself, and takes every other process for one of another boot."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return uuid.uuid4().hex


class ManualClock:
    """A clock that moves only when it is set, for tests and simulations."""

    def __init__(self, wall: float = 1_750_000_000.0) -> None:
        self._wall = wall
        self._steady = 0.0

    def wall(self) -> float:
        return self._wall

    def steady(self) -> float:
        return self._steady

    def boot(self) -> BootTime:
        return BootTime("manual", self._steady)

    def step(self, seconds: float) -> None:
        """Let the wall clock jump, and no other."""
        self._wall += seconds

    def advance(self, seconds: float) -> None:
        """Let `seconds` (0 or more) pass on both clocks."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._wall += seconds
        self._steady += seconds


# The years 1 to 9999, which RFC 3339 can write and `datetime` can hold. A timestamp with an offset may lie outside of them:
# 9999-12-31T23:59:59-14:00 is in the year 10000.
FIRST, LAST = -62_135_596_800.0, 253_402_300_799.999


def within(at: float) -> float:
    """The nearest time that can be written, to the millisecond as it is written; FIRST for what is no number."""
    return round(min(LAST, max(FIRST, at)) * 1000) / 1000


def rfc3339(at: float) -> str:
    """Unix seconds as an RFC 3339 timestamp in UTC, with milliseconds: `2026-01-31T09:30:00.250Z`. Never raises: see `within`."""
    try:
        seconds, milliseconds = divmod(round(at * 1000), 1000)
        return f"{_second(seconds)}.{milliseconds:03d}Z"
    except (ValueError, OverflowError, OSError):  # so that the hot path pays nothing for what only another's message can hold
        return rfc3339(within(at))


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]


def from_rfc3339(text: str) -> float:
    """An RFC 3339 timestamp as Unix seconds, which `rfc3339` can write. Raises ValueError for anything else, a missing offset
    included."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"no offset from UTC in {text!r}")
    return min(LAST, max(FIRST, parsed.timestamp()))
