"""The controller as a program of the simulation: the real watchers, decision and loop; its actuator starts and drains consumers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import orjson

from adapters.simulated import BrokerServer
from adapters.simulated.queues import Entry
from autoscaler.ahead import TakenAhead
from autoscaler.alerts import Alerts
from autoscaler.controller import Controller, WorkloadController
from autoscaler.cordons import Cordons
from autoscaler.model import Figure, Policy
from autoscaler.ports import Replica, Sighting, Workload
from autoscaler.recorder import Recorder
from autoscaler.signals.consumers import GONE, Answer, ConsumersSignal
from autoscaler.signals.depth import DepthSignal
from autoscaler.watchers import Watchers
from core.clock import Clock
from core.ports import Broker
from tests.simulation.plan import CONSUMERS
from tests.simulation.programs import CONSUMER, Consumer, Running, System
from tests.simulation.work import QUEUES

_INTERVAL = 2.0
_ANSWERS_WITHIN = 1.0
_SEEN_WITHIN = 1.0  # a consumer that began after the controller's poll is unknown
POLICY = Policy(
    min_replicas=1, max_replicas=3, concurrency=3, service_seconds=1.0, startup_seconds=1.0, drain_seconds=CONSUMER.drain_seconds
)


class Fleet(Protocol):
    """The consumers: how many are asked for, which of them run, and how that is changed."""

    asked: int

    def alive(self, name: str) -> bool: ...

    def consumer(self, name: str) -> Consumer | None: ...

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
        self.published: Counter[str] = Counter(dict.fromkeys(QUEUES, 0))
        server.watch.append(self.count)

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        found = await super().look(queues)
        now = self.seen_at = asyncio.get_running_loop().time()
        return {queue: Sighting({**sighting.figures, **self._management(queue, now)}) for queue, sighting in found.items()}

    def _management(self, queue: str, now: float) -> dict[str, Figure]:
        figures = {"published": float(self.published[queue]), "unacked": float(len(self.server.queues[queue].held))}
        return {name: Figure(value, now) for name, value in figures.items()}

    def count(self, what: str, queue: str, _: Entry) -> None:
        """Called by the server with every event."""
        self.published[queue] += what == "enqueued"


class _Consumers(ConsumersSignal):
    """Reaches the consumers of the simulation. A request and its answer take some ms each; to one that is cut off, or stands
    still, they take longer than is waited for, and what was asked of it happens once it goes on."""

    def __init__(self, steering: Steering) -> None:
        super().__init__(
            lambda _: steering.seen("work").replicas, steering.clock, _ANSWERS_WITHIN, dict.fromkeys(QUEUES, POLICY.drain_seconds)
        )
        self._steering = steering

    async def open(self) -> None: ...

    async def _call(self, verb: str, replica: Replica, path: str, body: bytes = b"") -> Answer:
        consumer, chance = self._steering.fleet.consumer(replica.name), self._steering.chance
        await asyncio.sleep(chance.uniform(0.001, 0.02))
        if consumer is None or not consumer.listens:
            return None if replica.ready else GONE
        asked = consumer.program.run(self._steering.system.loop, lambda: _answer(consumer, path, body))
        within = asyncio.timeout(0.0 if self._steering.cut_off(replica.name) else _ANSWERS_WITHIN)
        with contextlib.suppress(TimeoutError):
            async with within:
                return await asyncio.shield(asked)
        return None


async def _answer(consumer: Consumer, path: str, body: bytes) -> Answer:
    """In the consumer: of `GET /figures`, or of a PUT, which has a body."""
    if body:
        await consumer.put(path, orjson.loads(body))
    await asyncio.sleep(0.001)
    return consumer.figures()


class Steering(Running):
    """As `autoscaler/app.py` puts it together, without Prometheus."""

    def __init__(self, system: System, name: str, life: int, fleet: Fleet) -> None:
        self.fleet = fleet
        super().__init__(system, name, life)

    async def main(self) -> None:
        supervisor = self.supervisor()
        self.broker = self.broker_of(supervisor)
        self.depths, consumers = _Depths(self.broker, self.clock, self.system.broker), _Consumers(self)
        watchers = Watchers([self.depths, consumers], QUEUES, self.clock, _INTERVAL, supervisor)
        recorder, alerts = Recorder(None, supervisor), Alerts([], self.clock, supervisor)
        cordons = Cordons(consumers.runs, consumers.cordon, self.clock, POLICY.drain_seconds)
        rest = (watchers, self, recorder, alerts, cordons, self.clock)
        ahead = TakenAhead(consumers.runs, consumers.take_nothing_ahead, self.clock)
        workload = WorkloadController("work", dict.fromkeys(QUEUES, POLICY), *rest, dry_run=False, trace_url="", ahead=ahead)
        controller = Controller([workload], watchers, Lead(), self.clock, _INTERVAL, supervisor)
        await watchers.open()
        await controller.open()
        await self.stop.wait()
        for part in (controller, watchers, alerts, supervisor):
            await part.close()

    def unready(self) -> list[str]:
        late = self.system.loop.time() - self.depths.seen_at > 4 * _INTERVAL
        return [f"{self.name}: it sees nothing"] if late else []

    def cut_off(self, name: str) -> bool:
        """Whether the network is down to a consumer."""
        return name in self.system.store.unreachable

    # The actuator. The last consumers go first, as in a StatefulSet.

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def seen(self, workload: str) -> Workload:
        there = [(n, name, consumer) for n, name in enumerate(CONSUMERS) if (consumer := self.fleet.consumer(name)) is not None]
        replicas = tuple(Replica(name, of.listens, name, leaving=of.stop.is_set(), ordinal=n) for n, name, of in there)
        return Workload("work", self.fleet.asked, replicas, at=self.system.loop.time())

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        witness, now = self.system.witness, self.system.loop.time()
        witness.note("scales", replicas, why)
        if not POLICY.min_replicas <= replicas <= POLICY.max_replicas:
            witness.fails(f"{replicas} consumers were asked for")
        if replicas < self.fleet.asked and now - self.depths.seen_at > POLICY.freshness + _INTERVAL:
            witness.fails("consumers were taken away by a controller that sees nothing")
        for name in CONSUMERS[replicas : self.fleet.asked]:
            consumer = self.fleet.consumer(name)
            if consumer is not None and consumer.takes and now - consumer.began > _SEEN_WITHIN:
                witness.fails(f"{name} was taken away while it took deliveries")
        self.fleet.scale(replicas)
