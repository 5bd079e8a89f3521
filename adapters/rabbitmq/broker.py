"""The Broker port on RabbitMQ: one connection publishes, another consumes, so that a blocked publisher stops no consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from adapters.rabbitmq import advice
from adapters.rabbitmq.calls import within
from adapters.rabbitmq.link import Link
from adapters.rabbitmq.outlet import Outlet
from adapters.rabbitmq.passive import PassiveChannel
from adapters.rabbitmq.subscription import RabbitSubscription
from core.clock import Clock
from core.errors import BrokerUnavailable
from core.ports import Delivery, Depth, Message
from core.secret_url import Url, anew
from core.settings import Settings
from core.topology import DELAY_LOST, Topology
from telemetry.supervisor import Supervisor

# Depths asked for at once. The controller asks for those of all queues in one go.
_DEPTH_CHANNELS = 8


class RabbitMQ:
    """Declares the topology on every new publishing connection. url: called by each new connection.

    supervisor: owns its loops; without one it makes its own.
    """

    lost = DELAY_LOST

    def __init__(
        self, url: Url, topology: Topology, settings: Settings, clock: Clock, supervisor: Supervisor | None = None
    ) -> None:
        self._url = anew(url)
        self._settings = settings
        self._own = supervisor is None
        self.clock = clock
        self.supervisor = supervisor or Supervisor()
        timeout, ca_file = settings.connect_timeout, settings.ca_file
        self._publishing = Link(self._url, "headrace-publish", timeout, self.supervisor, ca_file)
        self.consuming = Link(self._url, "headrace-consume", timeout, self.supervisor, ca_file)
        self._outlet = Outlet(self._publishing, topology, settings, self.supervisor)
        self._depths = [PassiveChannel() for _ in range(_DEPTH_CHANNELS)]
        self._publishing.lost.append(self._lost)

    async def open(self) -> None:
        self._publishing.begin()
        self._outlet.begin()
        await within(self._outlet.up, self._settings.connect_timeout)

    async def close(self) -> None:
        await self._outlet.close()
        await asyncio.gather(self._publishing.close(), self.consuming.close())
        if self._own:
            await self.supervisor.close()

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        return self._outlet.publish(window)

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> RabbitSubscription:
        self.consuming.begin()
        return RabbitSubscription(self, queue, prefetch, deliver, self._settings.connect_timeout)

    async def depth(self, queue: str) -> Depth:
        """By a passive declare, which the queue's leader answers: always fresh. unacked is unknown here."""
        connection = self._publishing.connection
        if connection is None:
            raise BrokerUnavailable(self._publishing.down or "reconnecting")
        found = await self._depths[hash(queue) % _DEPTH_CHANNELS].ask(connection, queue, self._settings.connect_timeout)
        if found is None:
            self.look()
            raise BrokerUnavailable(f"there is no queue {queue!r}")
        return Depth(ready=found.ready, consumers=found.consumers)

    def unready(self) -> str | None:
        return self._outlet.unready()

    def look(self) -> None:
        """A queue is missing: missing objects are declared again."""
        self._outlet.look()

    async def advice(self) -> list[str]:
        settings = self._settings
        found = await advice.streams(self._url(), settings.connect_timeout, self.supervisor.chance.token(), settings.ca_file)
        return found + advice.limits(self._outlet.declaration.limits, self._settings.delivery_limit)

    def _lost(self) -> None:
        for depths in self._depths:
            depths.forget()
