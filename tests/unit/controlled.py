"""A controller in virtual time, with what is outside of it filled by small classes that a test can break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import REGISTRY

from autoscaler.actuators.dry_run import DryRun
from autoscaler.alerts import Alerts
from autoscaler.controller import Controller, WorkloadController
from autoscaler.cordons import Cordons
from autoscaler.model import Alert, Figure, Policy
from autoscaler.ports import Actuator, Replica, Sighting, Workload
from autoscaler.recorder import Recorder
from autoscaler.runs import Runs
from autoscaler.watchers import Watchers
from core.clock import BootTime
from core.errors import ActuatorError, SignalError, StoreUnavailable
from core.journal import ScalingRecord
from telemetry.supervisor import Supervisor

INTERVAL = 2.0
# A round is due within an interval and its quarter, after a look that is up to a tenth late.
ROUND = 1.5 * INTERVAL


class LoopClock:
    """The event loop's time: virtual under looptime."""

    def wall(self) -> float:
        return 1_750_000_000.0 + self.steady()

    def steady(self) -> float:
        return asyncio.get_running_loop().time()

    def boot(self) -> BootTime:
        return BootTime("virtual", self.steady())


class Seer:
    """A signal. figures: by queue; age: seconds that they are old. fails: raised by each look; hangs: a look never ends."""

    def __init__(self, name: str = "seer", age: float = 0.0, **figures: float) -> None:
        self.name = name
        self.age = age
        self.shared = figures
        self.figures: dict[str, dict[str, float]] = {}
        self.fails: Exception | None = None
        self.hangs = False
        self.looks = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        self.looks += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        at = asyncio.get_running_loop().time() - self.age
        given = {queue: self.shared | self.figures.get(queue, {}) for queue in queues}
        return {queue: Sighting({name: Figure(value, at) for name, value in of.items()}) for queue, of in given.items()}


@dataclass
class Scaled:
    at: float
    workload: str
    replicas: int
    idlest: list[str]


class Plant:
    """An actuator whose replicas are ready at once. refuses: why; slow: workloads whose scaling waits until it is set."""

    def __init__(self, **asked: int) -> None:
        self.workloads: dict[str, Workload | None] = {}
        self.done: list[Scaled] = []
        self.tried = 0
        self.refuses = ""
        self.breaks: Exception | None = None
        self.slow: dict[str, asyncio.Event] = {}
        for name, replicas in asked.items():
            self.put(name, replicas)

    def put(self, name: str, replicas: int) -> None:
        self.workloads[name] = Workload(name, replicas, tuple(Replica(f"{name}-{n}", True) for n in range(replicas)))

    def asked(self, name: str = "work") -> int:
        workload = self.workloads[name]
        assert workload is not None
        return workload.asked

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def seen(self, workload: str) -> Workload | None:
        found = self.workloads.get(workload)
        return None if found is None else replace(found, at=asyncio.get_running_loop().time())

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        assert why
        self.tried += 1
        if workload in self.slow:
            await self.slow[workload].wait()
        if self.breaks is not None:
            raise self.breaks
        if self.refuses:
            raise ActuatorError(self.refuses)
        self.put(workload, replicas)
        self.done.append(Scaled(asyncio.get_running_loop().time(), workload, replicas, list(idlest)))


class Lead:
    def __init__(self) -> None:
        self.leading = True

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Notes:
    """A journal in memory. away: it refuses; gate: while it is not set, an append waits for it."""

    def __init__(self) -> None:
        self.records: list[ScalingRecord] = []
        self.states: dict[str, tuple[str, float]] = {}
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None:
        self._here()

    async def close(self) -> None: ...

    async def append(self, records: Sequence[ScalingRecord]) -> None:
        self._here()
        await self.gate.wait()
        self.records += records

    async def latest(self) -> list[ScalingRecord]:
        return self.records[-1:]

    async def tail(self, queue: str, limit: int) -> list[ScalingRecord]:
        return [record for record in self.records if record.queue == queue][-limit:]

    async def remember(self, states: dict[str, str]) -> None:
        self._here()
        now = asyncio.get_running_loop().time()
        self.states |= {queue: (state, now) for queue, state in states.items()}

    async def recall(self, queue: str) -> tuple[str, float] | None:
        self._here()
        kept = self.states.get(queue)
        return None if kept is None else (kept[0], asyncio.get_running_loop().time() - kept[1])

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Ear:
    """Hears alerts."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Alert, bool]] = []

    async def tell(self, workload: str, queue: str, alert: Alert, *, resolved: bool) -> None:
        self.heard.append((workload, queue, alert, resolved))

    @property
    def kinds(self) -> list[tuple[str, bool]]:
        return [(alert.kind.value, resolved) for _, _, alert, resolved in self.heard]


@dataclass
class Controlled:
    """The surroundings of the controller. Before `start`, its parts can be changed."""

    plant: Plant
    signals: list[Seer]
    workloads: dict[str, list[str]] = field(default_factory=lambda: {"work": ["jobs"]})
    policy: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    lead: Lead = field(default_factory=Lead)
    notes: Notes = field(default_factory=Notes)
    ear: Ear = field(default_factory=Ear)
    supervisor: Supervisor = field(default_factory=Supervisor)
    cordons: Cordons | None = None  # else replicas are removed without one

    @property
    def seer(self) -> Seer:
        return self.signals[0]

    def records(self, queue: str = "jobs") -> list[ScalingRecord]:
        return [record for record in self.notes.records if record.queue == queue]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """From here on it controls."""
        clock = LoopClock()
        actuator: Actuator = DryRun(self.plant) if self.dry_run else self.plant
        queues, owner = [queue for of in self.workloads.values() for queue in of], self.supervisor
        watchers = Watchers(self.signals, queues, clock, INTERVAL, owner)
        recorder, alerts = Recorder(self.notes, owner), Alerts([self.ear], clock, owner)
        shapes = {"min_replicas": 1, "max_replicas": 100, "down_window": 30.0, "down_cooldown": 5.0, "drain_target": 10.0}
        policy = Policy(**{**shapes, "concurrency": 10, "service_seconds": 0.1, "utilisation": 0.8, **self.policy})

        def workload(name: str, queues: list[str]) -> WorkloadController:
            policies = dict.fromkeys(queues, policy)
            rest = (watchers, actuator, recorder, alerts, self.cordons or Cordons(Runs(), None, clock, 25.0), clock)
            return WorkloadController(name, policies, *rest, dry_run=self.dry_run, trace_url="")

        controller = Controller([workload(*item) for item in self.workloads.items()], watchers, self.lead, clock, INTERVAL, owner)
        await recorder.open()
        await watchers.open()
        await controller.open()
        try:
            yield
        finally:
            for part in (controller, watchers, recorder, alerts):
                await part.close()


def sample(name: str, **labels: str) -> float:
    """A metric's value now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def blind() -> SignalError:
    return SignalError("nothing is seen")
