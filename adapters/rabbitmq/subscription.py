"""A consumer's hold on one queue: a channel of its own, taken up again after every loss, with coalesced acks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from adapters.rabbitmq import incoming
from adapters.rabbitmq.calls import Pauses, calls, close_quietly, within
from adapters.rabbitmq.hold import Hold
from adapters.rabbitmq.link import PATIENCE, TURN
from core.errors import BrokerUnavailable
from core.ports import Delivery, Message
from telemetry import logs
from telemetry.supervisor import Beat

if TYPE_CHECKING:
    from adapters.rabbitmq.broker import RabbitMQ

_log = logs.get("rabbitmq")

_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
# How long one change of what we consume may take.
_CHANGE = 10.0


class RabbitSubscription:
    """Keeps consuming until closed."""

    def __init__(self, broker: RabbitMQ, queue: str, prefetch: int, deliver: Callable[[Delivery], None], timeout: float) -> None:
        self._broker = broker
        self._link = broker.consuming
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._timeout = timeout
        self._supervisor = broker.supervisor
        self._hold: Hold | None = None
        self._scheduled = False
        self._wanted = False
        self._change = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = False
        self._told: str | None = None
        self._link.lost.append(self._lost)
        self._loop = self._supervisor.start(f"rabbitmq consumer of {queue}", self._keep, patience=PATIENCE)

    @property
    def active(self) -> bool:
        return self._hold is not None and bool(self._hold.consumers) and not self._hold.channel.is_closed

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
            return  # no longer ours: the broker hands it out again
        await self._broker.publish([message])[0]
        self.ack(delivery)

    async def pause(self) -> None:
        await self._want(False)

    async def resume(self) -> None:
        await self._want(True)

    def limit(self, prefetch: int) -> None:
        self._prefetch = prefetch
        if self._hold is not None:
            self._hold.prefetch = prefetch

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._loop.stop()
        self._link.lost.remove(self._lost)
        hold, self._hold = self._hold, None
        if hold is None or hold.channel.is_closed:
            return
        # Closing a channel returns what it holds, but only after the acks before it in the same stream.
        self._write(hold)
        await close_quietly(hold.channel)

    async def _want(self, wanted: bool) -> None:
        """Consume or not; returns when it is so, or after the timeout: without a connection nothing arrives either."""
        self._wanted = wanted
        self._settled.clear()
        self._change.set()
        if not wanted and self._link.connection is None:
            return
        await within(self._settled, self._timeout)

    async def _keep(self, beat: Beat) -> None:
        self._lost()
        pauses = Pauses(self._supervisor.chance, _FIRST_PAUSE, _LAST_PAUSE)
        while True:
            beat()
            self._change.clear()
            await self._link.connected(beat)
            try:
                with calls():
                    async with asyncio.timeout(_CHANGE):
                        await self._adjust()
                pauses.begin()
                self._told = None
                await within(self._change, TURN)
            except BrokerUnavailable as error:
                self._tell(str(error))
                self._lost()
                await pauses.sleep()

    async def _adjust(self) -> None:
        """Make the broker's view of us what is wanted."""
        wanted = self._wanted
        if wanted:
            await self._consume()
        elif self._hold is not None and self._hold.consumers:
            hold = self._hold
            for tag in tuple(hold.consumers):
                await hold.channel.basic_cancel(tag)
            hold.cancelled()
        if wanted is self._wanted:  # else it changed meanwhile, and the next turn settles that
            self._settled.set()

    async def _consume(self) -> None:
        if self._hold is None or self._hold.channel.is_closed:
            self._hold = await self._open()
        hold = self._hold
        while (credit := hold.credit) > 0:
            await hold.channel.basic_qos(prefetch_count=credit)
            try:
                answer = await hold.channel.basic_consume(self._queue, _never_called)
            except ChannelNotFoundEntity:
                self._broker.look()  # the queue was deleted
                raise
            if hold is not self._hold:
                raise BrokerUnavailable("lost while the answer was on its way")
            hold.consumers[answer.consumer_tag or ""] = credit

    async def _open(self) -> Hold:
        connection = self._link.connection
        if connection is None:
            raise BrokerUnavailable("the connection has ended")
        outer = connection.channel(publisher_confirms=False)
        await outer.initialize()
        channel: Any = await outer.get_underlay_channel()
        hold = Hold(channel, self._prefetch)
        channel.on_consumer_cancel_callbacks.add(lambda _: self._cancelled(hold))
        outer.close_callbacks.add(lambda *_: self._ended(hold))
        # aiormq starts a task for each delivery. Ours is handed on in the reader's own turn: a tenth less CPU for each.
        channel._on_deliver_frame = lambda frame: self._receive(hold, channel, frame)
        return hold

    async def _receive(self, hold: Hold, channel: Any, frame: Basic.Deliver) -> None:
        properties, body = await incoming.read(channel)
        tag = frame.delivery_tag
        assert tag is not None  # noqa: S101 - every Basic.Deliver has one
        hold.outstanding[tag] = None
        hold.last = tag
        self._deliver(incoming.delivery(self._queue, frame.routing_key or "", properties, body, (hold, tag)))

    def _take_back(self, delivery: Delivery) -> Hold | None:
        """The channel's hold, if the delivery is still ours there."""
        hold: Hold = delivery.tag[0]
        if hold is not self._hold or delivery.tag[1] not in hold.outstanding:
            return None
        del hold.outstanding[delivery.tag[1]]
        if hold.former:
            self._change.set()  # perhaps a further consumer may begin
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)
        return hold

    def _flush(self) -> None:
        self._scheduled = False
        if self._hold is not None:
            self._write(self._hold)

    def _write(self, hold: Hold) -> None:
        if hold.channel.is_closed or not (hold.acks or hold.nacks):
            return
        try:
            frame = ChannelFrame(payload=hold.packed(), should_close=False, drain_future=None)
            hold.channel.connection.write_queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._lost()  # a connection that takes nothing any more: the broker hands everything out again

    def _cancelled(self, hold: Hold) -> None:
        """The broker ended our consumer: the queue is gone, or its leader moved."""
        self._broker.look()
        self._ended(hold)

    def _ended(self, hold: Hold) -> None:
        if self._hold is hold:
            self._lost()

    def _tell(self, reason: str) -> None:
        """Once for each fault; a lost connection is the link's to tell."""
        if reason != self._told and self._link.down is None:
            self._told = reason
            _log.warning("the queue cannot be consumed; trying again", queue=self._queue, why=reason)

    def _lost(self) -> None:
        """Nothing that we hold is ours any more."""
        hold, self._hold = self._hold, None
        if hold is not None and not hold.channel.is_closed and not self._closed:
            self._supervisor.once("rabbitmq channel's end", close_quietly(hold.channel))
        self._change.set()


async def _never_called(_: object) -> None:
    """aiormq wants a callback for its own way of handing a delivery on."""
