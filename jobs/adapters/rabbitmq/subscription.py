"""A consumer's hold on one queue: a channel of its own, taken up again after every loss, with coalesced acks."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from jobs.adapters.rabbitmq import frames
from jobs.adapters.rabbitmq.link import ended
from jobs.errors import BrokerUnavailable
from jobs.model import Reason
from jobs.ports import Delivery, Message

if TYPE_CHECKING:
    from jobs.adapters.rabbitmq.broker import RabbitMQ

# What dead-lettering adds on the way through the ladder; a message is told by its publisher's headers alone.
_BROKERS_OWN = ("x-first-death-", "x-last-death-")
_DEATHS = {"delivery_limit": Reason.DELIVERY_LIMIT, "expired": Reason.EXPIRED, "rejected": Reason.REJECTED}


class _Hold:
    """What one channel has given us. outstanding: tags in the order of delivery."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel
        self.outstanding: dict[int, None] = {}
        self.acks: list[int] = []
        self.nacks: list[tuple[int, bool]] = []

    def packed(self) -> bytes:
        """Everything that was settled, as one write.

        Single nacks first; then one Ack with `multiple` up to the last tag before the oldest outstanding one, which by then is
        all acked; then single acks for what was settled behind that gap.
        """
        number = self.channel.number
        parts = [frames.nack(number, tag, requeue=requeue) for tag, requeue in self.nacks]
        oldest = next(iter(self.outstanding), None)
        self.acks.sort()
        prefix = [tag for tag in self.acks if oldest is None or tag < oldest]
        if prefix:
            parts.append(frames.ack(number, prefix[-1], multiple=True))
        parts += [frames.ack(number, tag, multiple=False) for tag in self.acks[len(prefix) :]]
        self.acks, self.nacks = [], []
        return b"".join(parts)


class RabbitSubscription:
    """Keeps consuming until closed."""

    def __init__(self, broker: RabbitMQ, queue: str, prefetch: int, deliver: Callable[[Delivery], None], timeout: float) -> None:
        self._broker = broker
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._timeout = timeout
        self._hold: _Hold | None = None
        self._tag: str | None = None
        self._scheduled = False
        self._wanted = False
        self._change = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = False
        broker.consuming.lost.append(self._lost)
        self._task = asyncio.get_running_loop().create_task(self._keep())

    @property
    def active(self) -> bool:
        return self._tag is not None and self._hold is not None and not self._hold.channel.is_closed

    def ack(self, delivery: Delivery) -> None:
        if (hold := self._take_back(delivery)) is not None:
            hold.acks.append(delivery.tag[1])

    def hand_back(self, delivery: Delivery) -> None:
        if (hold := self._take_back(delivery)) is not None:
            hold.nacks.append((delivery.tag[1], True))

    def reject(self, delivery: Delivery) -> None:
        if (hold := self._take_back(delivery)) is not None:
            hold.nacks.append((delivery.tag[1], False))

    async def postpone(self, delivery: Delivery, message: Message) -> None:
        if delivery.tag[0] is not self._hold:
            raise BrokerUnavailable("the channel that gave it has ended; the broker hands it out again")
        await self._broker.publish([message])[0]
        self.ack(delivery)

    async def pause(self) -> None:
        await self._want(False)

    async def resume(self) -> None:
        await self._want(True)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await ended(self._task)
        self._broker.consuming.lost.remove(self._lost)
        hold, self._hold = self._hold, None
        if hold is None or hold.channel.is_closed:
            return
        # Closing a channel returns what it holds, but only after the acks before it in the same stream.
        self._write(hold)
        with contextlib.suppress(AMQPError, OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(2.0):
                await hold.channel.close()

    async def _want(self, wanted: bool) -> None:
        """Consume or not; returns when it is so, or after the timeout: without a connection nothing arrives either."""
        self._wanted = wanted
        self._settled.clear()
        self._change.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._settled.wait()

    async def _keep(self) -> None:
        pause = 0.1
        while not self._closed:
            self._change.clear()
            try:
                await self._adjust()
                pause = 0.1
                await self._change.wait()
            except (AMQPError, OSError, TimeoutError, RuntimeError):
                self._lost()
                await asyncio.sleep(random.uniform(0.05, pause))
                pause = min(pause * 2, 5.0)

    async def _adjust(self) -> None:
        """Make the broker's view of us what is wanted."""
        await self._broker.consuming.up.wait()
        async with asyncio.timeout(10.0):
            if self._wanted and not self.active:
                await self._consume()
            elif not self._wanted and self._tag is not None and self._hold is not None:
                tag, self._tag = self._tag, None
                await self._hold.channel.basic_cancel(tag)
        self._settled.set()

    async def _consume(self) -> None:
        if self._hold is None or self._hold.channel.is_closed:
            connection = self._broker.consuming.connection
            if connection is None:
                raise TimeoutError
            channel = await connection.channel(publisher_confirms=False)
            channel.on_consumer_cancel_callbacks.add(self._cancelled)
            channel.closing.add_done_callback(lambda _: self._channel_ended(channel))
            await channel.basic_qos(prefetch_count=self._prefetch)
            hold = self._hold = _Hold(channel)
            # aiormq starts a task for each delivery. Ours is handed on in the reader's own turn: a tenth less CPU for each.
            channel._on_deliver_frame = lambda frame: self._receive(hold, channel, frame)  # type: ignore[attr-defined]
        hold = self._hold
        answer = await hold.channel.basic_consume(self._queue, _never_called)
        if hold is not self._hold:
            raise TimeoutError  # lost while the answer was on its way
        self._tag = answer.consumer_tag

    async def _receive(self, hold: _Hold, channel: Any, frame: Basic.Deliver) -> None:
        """Read the rest of a delivery: its header, and as many body frames as that says."""
        header: ContentHeader = await channel._get_frame()
        left, pieces = header.body_size or 0, []
        while left > 0:
            piece: bytes = (await channel._get_frame()).value
            pieces.append(piece)
            left -= len(piece)
        assert frame.delivery_tag is not None  # noqa: S101 - every Basic.Deliver has one
        self._arrived(hold, frame.delivery_tag, header.properties.headers or {}, b"".join(pieces))

    def _arrived(self, hold: _Hold, tag: int, properties: dict[str, Any], body: bytes) -> None:
        hold.outstanding[tag] = None
        self._deliver(
            Delivery(
                self._queue,
                {name: value for name, value in properties.items() if isinstance(value, str) and not name.startswith(_BROKERS_OWN)},
                body,
                _count(properties.get("x-delivery-count")),
                _death(properties),
                (hold, tag),
            )
        )

    def _take_back(self, delivery: Delivery) -> _Hold | None:
        """The channel's hold, if the delivery is still ours there."""
        hold: _Hold = delivery.tag[0]
        if hold is not self._hold or delivery.tag[1] not in hold.outstanding:
            return None
        del hold.outstanding[delivery.tag[1]]
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)
        return hold

    def _flush(self) -> None:
        self._scheduled = False
        if self._hold is not None:
            self._write(self._hold)

    def _write(self, hold: _Hold) -> None:
        if hold.channel.is_closed or not (hold.acks or hold.nacks):
            return
        try:
            frame = ChannelFrame(payload=hold.packed(), should_close=False, drain_future=None)
            hold.channel.connection.write_queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._lost()  # a connection that takes nothing any more: the broker hands everything out again

    def _cancelled(self, _: Any) -> None:
        """The broker ended our consumer: the queue is gone, or its leader moved."""
        self._lost()

    def _channel_ended(self, channel: AbstractChannel) -> None:
        if self._hold is not None and self._hold.channel is channel:
            self._lost()

    def _lost(self) -> None:
        """Nothing that we hold is ours any more."""
        hold, self._hold, self._tag = self._hold, None, None
        if hold is not None and not hold.channel.is_closed and not self._closed:
            closing = asyncio.ensure_future(_close_quietly(hold.channel))
            self._closing = closing
        self._change.set()


async def _never_called(_: object) -> None:
    """aiormq wants a callback for its own way of handing a delivery on."""


async def _close_quietly(channel: AbstractChannel) -> None:
    with contextlib.suppress(Exception):  # it ends either way
        async with asyncio.timeout(2.0):
            await channel.close()


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _death(headers: dict[str, Any]) -> Reason | None:
    """Why the broker gave it up: the newest entry of x-death (RabbitMQ, Dead Letter Exchanges)."""
    deaths = headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    return _DEATHS.get(str(deaths[0].get("reason")))
