"""Clients that speak to a broker frame by frame, to a real one and to a simulated one alike: for facts about the server itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

import aiormq
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

from adapters.simulated.queues import Channel
from adapters.simulated.server import BrokerServer
from adapters.simulated.wire import Wire
from core.model import Reason
from core.ports import Message
from core.topology import Topology

QUEUE, LIMIT = "facts", 3
TOPOLOGY = Topology({"fact": (QUEUE,)})
_ARGUMENTS = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 1, "x-delivery-limit": LIMIT}


class Peer(Protocol):
    """given: (tag, name, count) of each delivery. told: ("ack" | "nack", tag, multiple) or ("return", name) in their order."""

    given: list[tuple[int, str, int]]
    told: list[tuple[Any, ...]]

    async def consume(self, prefetch: int) -> str: ...

    async def cancel(self, consumer: str) -> None: ...

    async def settle(self, how: str, tag: int, *, multiple: bool = False) -> None: ...

    async def publish(self, *names: str, to: str = QUEUE) -> None:
        """Send them, and wait for nothing."""

    async def lose(self) -> None:
        """End the connection without a word."""

    @property
    def closed(self) -> bool:
        """Whether the server has closed the channel."""


class RealPeer:
    """One connection to RabbitMQ, with one confirming channel."""

    def __init__(self) -> None:
        self.given: list[tuple[int, str, int]] = []
        self.told: list[tuple[Any, ...]] = []
        self._sending: list[asyncio.Task[Any]] = []
        self._channel: Any  # aiormq's own, of which what is private is replaced

    async def connect(self, url: str) -> RealPeer:
        self._connection = await aiormq.connect(url)
        self._channel = await self._connection.channel(publisher_confirms=True)
        await self._channel.queue_declare(QUEUE, durable=True, arguments=_ARGUMENTS)
        self._channel._on_confirm_frame = self._confirmed
        self._channel._on_return_frame = self._returned
        return self

    async def consume(self, prefetch: int) -> str:
        await self._channel.basic_qos(prefetch_count=prefetch)
        answer = await self._channel.basic_consume(QUEUE, self._arrived)
        return str(answer.consumer_tag)

    async def cancel(self, consumer: str) -> None:
        await self._channel.basic_cancel(consumer)

    async def settle(self, how: str, tag: int, *, multiple: bool = False) -> None:
        if how == "ack":
            await self._channel.basic_ack(tag, multiple=multiple)
        else:
            await self._channel.basic_nack(tag, multiple=multiple, requeue=how == "back")

    async def publish(self, *names: str, to: str = QUEUE) -> None:
        for name in names:
            properties = Basic.Properties(message_id=name, delivery_mode=2)
            sending = self._channel.basic_publish(name.encode(), routing_key=to, properties=properties, mandatory=True)
            self._sending.append(asyncio.create_task(sending))
        await asyncio.sleep(0)

    async def lose(self) -> None:
        self._connection.transport.close() if hasattr(self._connection, "transport") else None
        with contextlib.suppress(Exception):
            await self._connection.close()
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    @property
    def closed(self) -> bool:
        return bool(self._channel.is_closed)

    async def _arrived(self, message: Any) -> None:
        headers = message.header.properties.headers or {}
        self.given.append((message.delivery.delivery_tag, message.body.decode(), headers.get("x-delivery-count", 0)))

    async def _confirmed(self, frame: Any) -> None:
        self.told.append(("ack" if isinstance(frame, Basic.Ack) else "nack", frame.delivery_tag, frame.multiple))

    async def _returned(self, _: Any) -> None:
        await self._channel._get_frame()  # its header
        await self._channel._get_frame()  # its body
        self.told.append(("return",))


class SimulatedPeer:
    """The same to a simulated server."""

    def __init__(self, server: BrokerServer) -> None:
        self.given: list[tuple[int, str, int]] = []
        self.told: list[tuple[Any, ...]] = []
        self.closed = False
        self._server = server

    async def connect(self) -> SimulatedPeer:
        self._wire: Wire = await self._server.connect("peer", publishes=True)
        await self._wire.call(self._server.declare, TOPOLOGY, LIMIT)
        self._channel = Channel(self._wire, self._confirmed, self._returned, lambda _: None, self._ended)
        self._wire.to_server.send(self._server.open_channel, self._channel)
        return self

    async def consume(self, prefetch: int) -> str:
        return str(await self._wire.call(self._server.consume, self._channel, QUEUE, prefetch, self._arrived))

    async def cancel(self, consumer: str) -> None:
        await self._wire.call(self._server.cancel, self._channel, consumer)

    async def settle(self, how: str, tag: int, *, multiple: bool = False) -> None:
        self._wire.to_server.send(self._server.settle, self._channel, [(how, tag, multiple)])

    async def publish(self, *names: str, to: str = QUEUE) -> None:
        window = [(name, Message(name, "fact", {}, name.encode(), queue=to)) for name in names]
        self._wire.to_server.send(self._server.publish, self._channel, window)

    async def lose(self) -> None:
        self._wire.cut()

    def _arrived(self, tag: int, message: Message, count: int, _: Reason | None) -> None:
        self.given.append((tag, message.body.decode(), count))

    def _confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        self.told.append(("ack" if taken else "nack", tag, multiple))

    def _returned(self, _: str) -> None:
        self.told.append(("return",))

    def _ended(self, _: str) -> None:
        self.closed = True


__all__ = ["LIMIT", "QUEUE", "TOPOLOGY", "AMQPError", "Peer", "RealPeer", "SimulatedPeer"]
