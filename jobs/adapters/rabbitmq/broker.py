"""The Broker port on RabbitMQ: one connection publishes, another consumes, so that a blocked publisher stops no consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiormq
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity

from jobs.adapters.rabbitmq.advice import advice
from jobs.adapters.rabbitmq.declare import declare
from jobs.adapters.rabbitmq.link import Link, why
from jobs.adapters.rabbitmq.passive import PassiveChannel
from jobs.adapters.rabbitmq.publisher import Publisher
from jobs.adapters.rabbitmq.subscription import RabbitSubscription
from jobs.clock import Clock
from jobs.errors import BrokerUnavailable
from jobs.ports import Delivery, Depth, Message
from jobs.secret_url import Url, anew
from jobs.settings import Settings
from jobs.topology import Topology

# Depths asked for at once. The controller asks for those of all queues in one go.
_DEPTH_CHANNELS = 8


class RabbitMQ:
    """Declares the topology on every new publishing connection. url: asked for anew by each connection."""

    def __init__(self, url: Url, topology: Topology, settings: Settings, clock: Clock) -> None:
        self._url = anew(url)
        self._topology = topology
        self._settings = settings
        self.clock = clock
        self._publisher: Publisher | None = None
        self._publishing = Link(self._url, "headrace-publish", settings.connect_timeout, self._ready)
        self.consuming = Link(self._url, "headrace-consume", settings.connect_timeout, self._nothing)
        self._publishing.lost.append(self._lost)
        self._depths = [PassiveChannel() for _ in range(_DEPTH_CHANNELS)]

    async def open(self) -> None:
        await self._publishing.open()

    async def close(self) -> None:
        await self._publishing.close()
        await self.consuming.close()

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        reason = self._publishing.down
        if self._publisher is None or self._publisher.closed:
            return _failed(window, reason or "reconnecting")
        if reason is not None and reason.startswith("blocked"):
            return _failed(window, reason)
        try:
            return self._publisher.publish(window)
        except BrokerUnavailable as error:
            return _failed(window, str(error))

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> RabbitSubscription:
        self.consuming.begin()
        return RabbitSubscription(self, queue, prefetch, deliver, self._settings.connect_timeout)

    async def depth(self, queue: str) -> Depth:
        """By a passive declare, which the queue's leader answers: always fresh. unacked is unknown here."""
        connection = self._publishing.connection
        if connection is None:
            raise BrokerUnavailable(self._publishing.down or "reconnecting")
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                found = await self._depths[hash(queue) % _DEPTH_CHANNELS].declare(connection, queue)
        except ChannelNotFoundEntity:
            raise BrokerUnavailable(f"there is no queue {queue!r}") from None
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from None
        return Depth(ready=found.message_count or 0, consumers=found.consumer_count)

    def unready(self) -> str | None:
        if self._publishing.down is not None:
            return self._publishing.down
        return "no confirm within the publish timeout" if self._publisher is not None and self._publisher.timed_out else None

    async def advice(self) -> list[str]:
        try:
            return await advice(self._url(), self._settings.connect_timeout)
        except (AMQPError, OSError, TimeoutError) as error:
            raise BrokerUnavailable(why(error)) from None

    async def _ready(self, connection: aiormq.Connection) -> None:
        # A first declaration of all quorum queues takes 2 to 3 s on two cores; later ones 0.1 s.
        await declare(connection, self._topology, self._settings, self._settings.connect_timeout)
        channel = await connection.channel(publisher_confirms=True)
        assert isinstance(channel, Channel)  # noqa: S101 - the class whose table of confirms we share
        self._publisher = Publisher(channel, connection, self._settings.publish_timeout)

    async def _nothing(self, _: aiormq.Connection) -> None:
        """A consuming connection needs no preparation: the publishing one has declared everything."""

    def _lost(self) -> None:
        for depths in self._depths:
            depths.forget()
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.fail_all()


def _failed(window: Sequence[Message], reason: str) -> list[asyncio.Future[None]]:
    futures: list[asyncio.Future[None]] = []
    for _ in window:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(BrokerUnavailable(reason))
        futures.append(future)
    return futures
