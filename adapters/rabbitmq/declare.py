"""The objects that must exist on the broker. Every program declares them; an object with other arguments is a clear error."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed

from adapters.rabbitmq.calls import calls
from adapters.rabbitmq.connection import Connection
from core.errors import TopologyMismatch
from core.settings import Settings
from core.topology import (
    DELAY_ARRIVAL,
    DELAY_DUE,
    DELAY_LEVELS,
    DELAY_LOST,
    EXCHANGE,
    Topology,
    dead_queue,
    delay_exchange,
)
from telemetry.supervisor import Beat

DEAD_EXCHANGE = "jobs.dead"
# RabbitMQ 4 drops what came back 20 times from a queue that says nothing else, and 3 knows no number for "never".
_NEVER = 1_000_000

# `inequivalent arg 'x-delivery-limit' for queue 'one' in vhost '/': received '1000' but current is '20'`
_OTHER_LIMIT = re.compile(r"inequivalent arg 'x-delivery-limit' .*current is '?(\d+|none)")


class Declaration:
    """Declares a topology. limits: of queues that exist with another delivery limit than ours; None is the broker's own."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self._topology = topology
        self._settings = settings
        self._timeout = settings.connect_timeout  # for each step
        self.limits: dict[str, int | None] = {}

    async def declare(self, connection: Connection, beat: Beat) -> None:
        """All exchanges, queues and bindings; existing ones are not changed. Raises TopologyMismatch, BrokerUnavailable."""
        with calls():
            channel = await self._channel(connection)
            try:
                for exchange in (EXCHANGE, DELAY_ARRIVAL, DEAD_EXCHANGE, *(delay_exchange(n) for n in range(DELAY_LEVELS))):
                    beat()
                    await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True, timeout=self._timeout)
                # The ladder first: where there is a queue to consume, there is also a way to try again.
                for level in range(DELAY_LEVELS):
                    beat()
                    await self._rung(channel, level)
                await self._lost(channel)
                for queue in self._topology.queues:
                    beat()
                    channel = await self._queue(connection, channel, queue)
                await self._bind(channel, beat)
                # After the queues: a message due before its queue is bound there would be taken for lost.
                due = await channel.get_exchange(DELAY_DUE, ensure=False)
                await due.bind(DELAY_ARRIVAL, "#", timeout=self._timeout)
            except ChannelPreconditionFailed as error:
                raise _mismatch(error) from None
            finally:
                await _close(channel, self._timeout)

    async def _bind(self, channel: AbstractChannel, beat: Beat) -> None:
        for job_type, queues in self._topology.bindings.items():
            for name in queues:
                beat()
                queue = await channel.get_queue(name, ensure=False)
                await queue.bind(EXCHANGE, job_type, timeout=self._timeout)

    async def _queue(self, connection: Connection, channel: AbstractChannel, name: str) -> AbstractChannel:
        """A queue and its dead letters' one. A new channel where another delivery limit has cost this one."""
        dead = await channel.declare_queue(dead_queue(name), durable=True, arguments=self._quorum(), timeout=self._timeout)
        await dead.bind(DEAD_EXCHANGE, name, timeout=self._timeout)
        arguments = self._quorum() | _dead_lettered(DEAD_EXCHANGE) | {"x-dead-letter-routing-key": name}
        channel, queue = await self._limited(connection, channel, name, arguments)
        await queue.bind(DELAY_DUE, f"#.{name}", timeout=self._timeout)
        return channel

    async def _limited(
        self, connection: Connection, channel: AbstractChannel, name: str, arguments: dict[str, Any]
    ) -> tuple[AbstractChannel, aio_pika.abc.AbstractQueue]:
        """With our delivery limit; or, where the queue has another one and nothing else differs, with that."""
        wanted = arguments | {"x-delivery-limit": self._settings.delivery_limit}
        try:
            queue = await channel.declare_queue(name, durable=True, arguments=wanted, timeout=self._timeout)
        except ChannelPreconditionFailed as error:
            if (other := _OTHER_LIMIT.search(str(error))) is None:
                raise
            limit = None if other[1] == "none" else int(other[1])
            had = arguments if limit is None else arguments | {"x-delivery-limit": limit}
            channel = await self._channel(connection)
            queue = await channel.declare_queue(name, durable=True, arguments=had, timeout=self._timeout)
            self.limits[name] = limit
        else:
            self.limits.pop(name, None)
        return channel, queue

    async def _rung(self, channel: AbstractChannel, level: int) -> None:
        """Level n: a message whose delay has bit n set waits 2**n s in its queue; all goes on to level n - 1, and from level 0 to
        its own queue."""
        here = delay_exchange(level)
        below = delay_exchange(level - 1) if level else DELAY_ARRIVAL
        arguments = self._quorum() | _dead_lettered(below) | {"x-message-ttl": 1000 * 2**level}
        queue = await channel.declare_queue(here, durable=True, arguments=arguments, timeout=self._timeout)
        higher_bits = "*." * (DELAY_LEVELS - 1 - level)
        await queue.bind(here, f"{higher_bits}1.#", timeout=self._timeout)
        exchange = await channel.get_exchange(below, ensure=False)
        await exchange.bind(here, f"{higher_bits}0.#", timeout=self._timeout)

    async def _lost(self, channel: AbstractChannel) -> None:
        """The end of the ladder, from where what has no queue goes into a queue of its own.

        At least once means that RabbitMQ keeps what it cannot route, and waits after 32 of them: 32 retries for a queue that was
        deleted would stop all others. An exchange that exists can be given no alternate one, so there is another behind it; a
        message that reaches its queue both ways, by a binding of version 0.1.0 too, is there once.
        """
        topic = aio_pika.ExchangeType.TOPIC
        exchange = await channel.declare_exchange(DELAY_LOST, topic, durable=True, timeout=self._timeout)
        arguments = self._quorum() | {"x-delivery-limit": _NEVER}
        queue = await channel.declare_queue(DELAY_LOST, durable=True, arguments=arguments, timeout=self._timeout)
        await queue.bind(exchange, "#", timeout=self._timeout)
        other: dict[str, Any] = {"alternate-exchange": DELAY_LOST}
        await channel.declare_exchange(DELAY_DUE, topic, durable=True, arguments=other, timeout=self._timeout)

    async def _channel(self, connection: Connection) -> AbstractChannel:
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize(timeout=self._timeout)
        return channel

    def _quorum(self) -> dict[str, Any]:
        return {"x-queue-type": "quorum", "x-quorum-initial-group-size": self._settings.replication_factor}


def _dead_lettered(exchange: str) -> dict[str, Any]:
    # At least once needs reject-publish, and the feature flag `stream_queue`: without it the broker does it at most once.
    return {"x-dead-letter-exchange": exchange, "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def _mismatch(error: ChannelPreconditionFailed) -> TopologyMismatch:
    return TopologyMismatch(
        f"{error}. It exists with other arguments. Drain it and delete it (rabbitmqctl delete_queue NAME): it is declared anew "
        "within seconds. Or set HEADRACE_REPLICATION_FACTOR to what it has"
    )


async def _close(channel: AbstractChannel, timeout: float) -> None:
    if not channel.is_closed:
        async with asyncio.timeout(timeout):
            await channel.close()
