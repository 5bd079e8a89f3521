"""Asking for queues without making them."""

from __future__ import annotations

import asyncio

import aiormq
from pamqp.commands import Queue


class PassiveChannel:
    """A channel on which queues are asked for, one after another; on one channel answers are waited for in turn.

    A queue that is not there costs the channel, and no other: the next question opens a new one.
    """

    def __init__(self) -> None:
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._lock = asyncio.Lock()

    async def declare(self, connection: aiormq.abc.AbstractConnection, queue: str) -> Queue.DeclareOk:
        """Passively. Raises ChannelNotFoundEntity for a queue that is not there; and aiormq's other errors."""
        async with self._lock:
            if self._channel is None or self._channel.is_closed:
                self._channel = await connection.channel()
            return await self._channel.queue_declare(queue, passive=True)

    def forget(self) -> None:
        """The connection is gone."""
        self._channel = None

    async def close(self) -> None:
        if self._channel is not None and not self._channel.is_closed:
            await self._channel.close()
