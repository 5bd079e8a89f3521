"""The controller's ports: signals that observe, an actuator that acts, leadership, a place for alerts, a journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autoscaler.model import Alert, Figure, Pause


@dataclass(frozen=True, slots=True)
class Replica:
    """One consumer process or pod. metrics: the URL of its metrics, or "" where it has none yet. ready: takes work.

    leaving: it is terminating. ordinal: of a StatefulSet, which takes the last one first; -1 where any may go.
    """

    name: str
    ready: bool
    metrics: str = ""
    leaving: bool = False
    ordinal: int = -1


@dataclass(frozen=True, slots=True)
class Workload:
    """Replicas that scale together, as the actuator sees them. asked: desired replicas. at: monotonic seconds of this view.

    unschedulable: why replicas cannot start (quota, no node), or "". unready: why those that are there are not ready, in their own
    words, or "". pause: what an operator has forbidden. rolling: replicas of two revisions are there, and which of them go first is
    not for us to say. ends_itself: each replica takes one delivery and ends with it, so that `asked` falls by itself, and none is
    ever taken away.
    """

    name: str
    asked: int
    replicas: tuple[Replica, ...] = ()
    at: float = 0.0
    pause: Pause = Pause.NONE
    unschedulable: str = ""
    rolling: bool = False
    ends_itself: bool = False
    unready: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The figures of one queue from one signal. figures: by the name of an `Observation` field; a missing one is unknown."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    slow_trace: str = ""


class Signal(Protocol):
    """One source of figures. Each figure carries the moment at which it was true."""

    name: str

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        """See these queues, all in one go. Raises SignalError with the reason when nothing was seen; takes bounded time."""


class Actuator(Protocol):
    """Has replicas started and stopped."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def seen(self, workload: str) -> Workload | None:
        """The newest view of it, at once: kept current by a watch, not asked for. None: unknown, or there is none."""

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        """Set its desired replicas. idlest: names of replicas that shall go first when there are fewer, the idlest first.
        Where replicas end by themselves, none is taken away.

        Raises ActuatorError with the reason and the remedy. Takes bounded time.
        """


class Leadership(Protocol):
    """Whether this controller is the one that acts."""

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Give the lead up, so that another one takes over at once."""

    @property
    def leading(self) -> bool:
        """True only while it is certain."""


class AlertSink(Protocol):
    """Tells somebody."""

    async def tell(self, workload: str, queue: str, alert: Alert, *, resolved: bool) -> None:
        """Never raises; takes bounded time."""
