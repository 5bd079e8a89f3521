"""The controller as a program of the simulation: the real watchers, decision and loop; its actuator starts and drains consumers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from autoscaler.alerts import Alerts
from autoscaler.controller import Controller, WorkloadController
from autoscaler.cordons import Cordons
from autoscaler.model import Figure, Policy
from autoscaler.ports import Replica, Sighting, Workload
from autoscaler.recorder import Recorder
from autoscaler.runs import Runs
from autoscaler.signals.depth import DepthSignal
from autoscaler.watchers import Watchers
from jobs.adapters.simulated import BrokerServer
from jobs.adapters.simulated.queues import Entry
from jobs.clock import Clock
from jobs.ports import Broker
from tests.simulation.plan import CONSUMERS
from tests.simulation.programs import Running, System
from tests.simulation.work import QUEUES

_INTERVAL = 2.0
POLICY = Policy(min_replicas=1, max_replicas=3, concurrency=3, service_seconds=1.0, startup_seconds=1.0)


class Fleet(Protocol):
    """The consumers: how many are asked for, which of them run, and how that is changed."""

    asked: int

    def alive(self, name: str) -> bool: ...

    def scale(self, replicas: int) -> None: ...


class Lead:
    """There is one controller."""

    leading = True

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class _Depths(DepthSignal):
    """Knows what the management API tells besides; and when it saw something last, for the witness."""

    seen_at = float("-inf")

    def __init__(self, broker: Broker, clock: Clock, server: BrokerServer) -> None:
        super().__init__(broker, clock, timeout=1.5)
        self.server = server
        self.counts: Counter[tuple[str, str]] = Counter({(what, q): 0 for what in ("published", "completed") for q in QUEUES})
        server.watch.append(self.count)

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        found = await super().look(queues)
        now = self.seen_at = asyncio.get_running_loop().time()
        return {queue: Sighting({**sighting.figures, **self._management(queue, now)}) for queue, sighting in found.items()}

    def _management(self, queue: str, now: float) -> dict[str, Figure]:
        figures = {what: float(count) for (what, of), count in self.counts.items() if of == queue}
        figures["unacked"] = float(len(self.server.queues[queue].held))
        return {name: Figure(value, now) for name, value in figures.items()}

    def count(self, what: str, queue: str, _: Entry) -> None:
        """Told of everything by the server."""
        if name := {"enqueued": "published", "acked": "completed"}.get(what):
            self.counts[name, queue] += 1


class Steering(Running):
    """As `autoscaler/app.py` puts it together, with one signal."""

    def __init__(self, system: System, name: str, life: int, fleet: Fleet) -> None:
        self.fleet = fleet
        super().__init__(system, name, life)

    async def main(self) -> None:
        supervisor = self.supervisor()
        self.broker = self.open(supervisor)
        self.depths = _Depths(self.broker, self.clock, self.system.broker)
        watchers = Watchers([self.depths], QUEUES, self.clock, _INTERVAL, supervisor)
        recorder, alerts = Recorder(None, supervisor), Alerts([], self.clock, supervisor)
        rest = (watchers, self, recorder, alerts, Cordons(Runs(), None, self.clock, 25.0), self.clock)
        workload = WorkloadController("work", dict.fromkeys(QUEUES, POLICY), *rest, dry_run=False, trace_url="")
        controller = Controller([workload], watchers, Lead(), self.clock, _INTERVAL, supervisor)
        await watchers.open()
        await controller.open()
        await self.stop.wait()
        for part in (controller, watchers, alerts, supervisor):
            await part.close()

    def unready(self) -> list[str]:
        late = self.system.loop.time() - self.depths.seen_at > 4 * _INTERVAL
        return [f"{self.name}: it sees nothing"] if late else []

    # The actuator.

    async def close(self) -> None: ...

    def seen(self, _: str) -> Workload:
        replicas = tuple(Replica(name, True) for name in CONSUMERS if self.fleet.alive(name))
        return Workload("work", self.fleet.asked, replicas, at=self.system.loop.time())

    async def scale(self, _: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        witness, now = self.system.witness, self.system.loop.time()
        witness.note("scales", replicas, why)
        if not POLICY.min_replicas <= replicas <= POLICY.max_replicas:
            witness.fails(f"{replicas} consumers were asked for")
        if replicas < self.fleet.asked and now - self.depths.seen_at > POLICY.freshness + _INTERVAL:
            witness.fails("consumers were taken away by a controller that sees nothing")
        self.fleet.scale(replicas)
