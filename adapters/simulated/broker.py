"""The Broker port on a simulated server: one connection publishes, another consumes, as the real adapter does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from adapters.simulated.link import Link
from adapters.simulated.publisher import Publisher, failed
from adapters.simulated.server import BrokerServer
from adapters.simulated.subscription import SimulatedSubscription
from adapters.simulated.wire import ConnectionLost, Wire
from core.chance import Chance
from core.errors import BrokerUnavailable
from core.ports import Delivery, Depth, Message
from core.settings import Settings
from core.topology import Topology
from telemetry.supervisor import Supervisor


class SimulatedBroker:
    """One program's client. name: of the program, to the server. supervisor: owns its loops; without one it makes its own."""

    lost = None  # no queue is deleted here

    def __init__(
        self,
        server: BrokerServer,
        name: str,
        topology: Topology,
        settings: Settings,
        chance: Chance,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.server = server
        self.chance = chance
        self.timeout = settings.connect_timeout
        self._topology = topology
        self._settings = settings
        self._publisher: Publisher | None = None
        self.supervisor = supervisor or Supervisor(chance=chance)
        self._publishing = Link(server, name, self.timeout, chance, self._ready, publishes=True)
        self.consuming = Link(server, name, self.timeout, chance, self._nothing, publishes=False)
        self._publishing.lost.append(self._lost)
        self._publishing.answered = self._answered

    async def open(self) -> None:
        await self._publishing.open(self.supervisor)

    async def close(self) -> None:
        await self._publishing.close()
        await self.consuming.close()

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        reason = self._publishing.down
        if self._publisher is None:
            return failed(window, reason or "reconnecting")
        if reason is not None and reason.startswith("blocked"):
            return failed(window, reason)
        return self._publisher.publish(window)

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> SimulatedSubscription:
        self.consuming.begin(self.supervisor)
        return SimulatedSubscription(self, queue, prefetch, deliver)

    async def depth(self, queue: str) -> Depth:
        wire = self._publishing.wire
        if wire is None:
            raise BrokerUnavailable(self._publishing.down or "reconnecting")
        asked = wire.call(self.server.depth, queue)
        await asyncio.wait({asked}, timeout=self.timeout)
        if not asked.done() or asked.cancelled():
            asked.cancel()
            raise BrokerUnavailable("no answer")
        error = asked.exception()
        if error is not None:
            raise BrokerUnavailable(f"{type(error).__name__}: {error}")
        ready, consumers = asked.result()
        return Depth(ready=ready, consumers=consumers)

    def unready(self) -> str | None:
        if self._publishing.down is not None:
            return self._publishing.down
        return "no confirm within the publish timeout" if self._publisher is not None and self._publisher.timed_out else None

    async def advice(self) -> list[str]:
        """Nothing: this server has no operator."""
        return []

    def cut(self, *, publishing: bool, client_after: float = 0.0, server_after: float = 0.0) -> None:
        """End one of the connections, as a network does."""
        wire = (self._publishing if publishing else self.consuming).wire
        if wire is not None:
            wire.cut(client_after, server_after)

    async def _ready(self, wire: Wire) -> None:
        if await wire.call(self.server.declare, self._topology, self._settings.delivery_limit):
            await asyncio.sleep(self._settings.new_queue_pause)
        if wire.lost:
            raise ConnectionLost("it ended while the topology was declared")
        self._publisher = Publisher(self.server, wire, self._settings.publish_timeout)

    async def _nothing(self, _: Wire) -> None:
        """A consuming connection needs no preparation: the publishing one has declared everything."""

    def _answered(self) -> None:
        """The server works again; that a confirm was late once says nothing any more."""
        if self._publisher is not None:
            self._publisher.timed_out = False

    def _lost(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.fail_all()
