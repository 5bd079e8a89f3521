"""Bindings that outlive their contract: RabbitMQ keeps a binding until somebody removes it, and AMQP cannot list them.

The declared bindings are therefore recorded beside them, as the one message of a queue: it lives as long as they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from adapters.rabbitmq.calls import calls, close_quietly
from adapters.rabbitmq.connection import Connection, connection_to
from adapters.rabbitmq.link import HEARTBEAT
from core.topology import EXCHANGE, Topology

RECORD = "jobs.bindings"

Binding = tuple[str, str]  # job type, queue


def of(topology: Topology) -> set[Binding]:
    """The bindings of a topology, as pairs of job type and queue."""
    return {(job_type, queue) for job_type, queues in topology.bindings.items() for queue in queues}


class Bindings:
    """Those of the exchange `jobs`, on a connection of its own. Every method raises BrokerUnavailable."""

    def __init__(self, connection: Connection, replication_factor: int) -> None:
        self._connection = connection
        self._arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-quorum-initial-group-size": replication_factor,
            "x-max-length": 1,
        }

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str, timeout: float, replication_factor: int, ca_file: str = "") -> AsyncIterator[Bindings]:
        """timeout: seconds to connect. ca_file: authorities to trust."""
        connection = connection_to(url, "headrace-bindings", HEARTBEAT, ca_file)
        with calls():
            async with asyncio.timeout(timeout):
                await connection.connect()
        try:
            yield cls(connection, replication_factor)
        finally:
            await close_quietly(connection)

    async def recorded(self) -> set[Binding] | None:
        """The bindings recorded last; None if none were ever recorded."""
        with calls():
            channel = await self._channel()
            queue = await channel.declare_queue(RECORD, durable=True, arguments=self._arguments)
            message = await queue.get(fail=False)
            if message is None:
                return None
            found = {(str(job_type), str(name)) for job_type, name in orjson.loads(message.body)}
            # Put back as a new message: a quorum queue counts how often one is handed out, and gives it up in the end.
            await self._put(channel, found)
            await message.ack()
            await channel.close()
            return found

    async def record(self, bindings: Iterable[Binding]) -> None:
        """In the place of what was recorded before."""
        with calls():
            channel = await self._channel()
            await channel.declare_queue(RECORD, durable=True, arguments=self._arguments)
            await self._put(channel, bindings)
            await channel.close()

    async def unbind(self, bindings: Iterable[Binding]) -> None:
        """Remove them; one that is not there is well."""
        with calls():
            for job_type, name in sorted(bindings):
                channel = await self._channel()
                queue = await channel.get_queue(name, ensure=False)
                try:
                    await queue.unbind(EXCHANGE, job_type)
                except ChannelNotFoundEntity:
                    continue  # its queue has gone, and its bindings with it
                await channel.close()

    async def _channel(self) -> AbstractChannel:
        channel = self._connection.channel()
        await channel.initialize()
        return channel

    @staticmethod
    async def _put(channel: AbstractChannel, bindings: Iterable[Binding]) -> None:
        body = aio_pika.Message(orjson.dumps(sorted(bindings)), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(body, RECORD)
