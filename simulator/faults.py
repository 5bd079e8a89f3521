"""The faults of a run, and their times. Every time is in seconds since the run began; `until` itself is free of the fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Blind:
    """The scaler sees nothing but what it asked for; with counters_only, all but `published`, `completed` and `busy_seconds`."""

    since: float
    until: float
    counters_only: bool = False


@dataclass(frozen=True, slots=True)
class CounterReset:
    """The cumulative counters begin again at 0, as after a restart of their server."""

    at: float


@dataclass(frozen=True, slots=True)
class NoStart:
    """Replicas asked for in this time do not start: there is no node for them. They begin to start when it ends."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Cap:
    """Downstream takes no more than `rate` jobs/s of all replicas together; handlers wait for it."""

    since: float
    until: float
    rate: float


@dataclass(frozen=True, slots=True)
class Kill:
    """Ready replicas die; their jobs go back to the queue, and others are started in their place."""

    at: float
    replicas: int


Fault = Blind | CounterReset | NoStart | Cap | Kill


class Timeline:
    """The faults of a run, asked for by time. Point events come out once, in order."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._blind = [fault for fault in faults if isinstance(fault, Blind)]
        self._no_start = [fault for fault in faults if isinstance(fault, NoStart)]
        self._caps = [fault for fault in faults if isinstance(fault, Cap)]
        self._events = sorted((fault for fault in faults if isinstance(fault, CounterReset | Kill)), key=lambda event: -event.at)

    def events(self, now: float) -> list[CounterReset | Kill]:
        """The faults since the last call."""
        due: list[CounterReset | Kill] = []
        while self._events and self._events[-1].at <= now:
            due.append(self._events.pop())
        return due

    def cap(self, now: float) -> float:
        """Jobs/s that downstream takes."""
        if not self._caps:
            return inf
        return min((cap.rate for cap in self._caps if cap.since <= now < cap.until), default=inf)

    def blind(self, now: float) -> Blind | None:
        """Why the scaler does not see, the worst of what holds."""
        holding = [blind for blind in self._blind if blind.since <= now < blind.until]
        return min(holding, key=lambda blind: blind.counters_only, default=None)

    def start_from(self, now: float) -> float:
        """When a replica that is asked for now begins to start (seconds)."""
        return max((fault.until for fault in self._no_start if fault.since <= now < fault.until), default=now)
