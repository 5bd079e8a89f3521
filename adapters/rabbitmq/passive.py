"""Asking for queues without making them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aio_pika
from aiormq.exceptions import ChannelNotFoundEntity

from adapters.rabbitmq.calls import calls
from adapters.rabbitmq.connection import Connection


@dataclass(frozen=True, slots=True)
class Found:
    """The state of a queue, as its leader reports it."""

    ready: int
    consumers: int


class PassiveChannel:
    """A channel on which queues are asked for, one after another; on one channel answers are waited for in turn.

    A queue that is not there costs the channel, and no other: the next question opens a new one.
    """

    def __init__(self) -> None:
        self._channel: aio_pika.abc.AbstractChannel | None = None
        self._lock = asyncio.Lock()

    async def ask(self, connection: Connection, queue: str, timeout: float) -> Found | None:
        """None: there is no such queue. Raises BrokerUnavailable, after `timeout` seconds at most."""
        with calls():
            async with asyncio.timeout(timeout), self._lock:
                try:
                    return await self._ask(connection, queue)
                except ChannelNotFoundEntity:
                    return None

    async def _ask(self, connection: Connection, queue: str) -> Found:
        if self._channel is None or self._channel.is_closed:
            channel = connection.channel(publisher_confirms=False)
            await channel.initialize()
            self._channel = channel
        result = (await self._channel.declare_queue(queue, passive=True)).declaration_result
        return Found(result.message_count or 0, result.consumer_count or 0)

    def forget(self) -> None:
        """The connection is gone."""
        self._channel = None
