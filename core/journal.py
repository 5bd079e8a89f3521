"""The controller's observations and decisions, as plain records, so that their readers need not know the controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """kind: a word of a closed list. trace: a link to the trace of a slow job, or its id, or ""."""

    kind: str
    text: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class ScalingRecord:
    """One decision about one queue.

    at: Unix seconds. asked: replicas before it. wanted: replicas by this queue's decision. scaled: what the workload was set to,
    or None. running, ready: replicas; cordoned: those of them that take nothing more, and go once their runs have ended; backlog:
    jobs; rates: jobs/s; None is unknown. ages: seconds, of the figures that were used. error: why it could not be done, or "".
    """

    queue: str
    workload: str
    at: float
    asked: int
    wanted: int
    reason: str
    text: str
    scaled: int | None = None
    running: int | None = None
    ready: int | None = None
    backlog: float | None = None
    arrival_rate: float | None = None
    service_rate: float | None = None
    ages: dict[str, float] = field(default_factory=dict)
    alerts: tuple[AlertRecord, ...] = ()
    dry_run: bool = False
    error: str = ""
    cordoned: int = 0


class Journal(Protocol):
    """The records, capped in number and age by queue; and what a controller wants to find again after a restart.

    Every method raises StoreUnavailable, within a bounded time, when it cannot.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def append(self, records: Sequence[ScalingRecord]) -> None:
        """Add records, in one command or transaction."""

    async def latest(self) -> list[ScalingRecord]:
        """The newest record of each queue, by the queue's name."""

    async def tail(self, queue: str, limit: int) -> list[ScalingRecord]:
        """The newest `limit` records of a queue, the oldest of them first."""

    async def remember(self, states: dict[str, str]) -> None:
        """Keep a text for each queue."""

    async def recall(self, queue: str) -> tuple[str, float] | None:
        """The record kept last, and its age in seconds by the store's clock; None if there is none."""
