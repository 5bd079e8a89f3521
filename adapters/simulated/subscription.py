"""A consumer's hold on one queue: a channel of its own, taken up again after every loss, with coalesced acks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from adapters.simulated.queues import Channel
from adapters.simulated.server import Settlement
from adapters.simulated.wire import ConnectionLost, Wire
from core.model import Reason
from core.ports import Delivery, Message
from telemetry.supervisor import Beat

if TYPE_CHECKING:
    from adapters.simulated.broker import SimulatedBroker


class Hold:
    """The deliveries that one channel holds. outstanding: tags in the order of delivery, with the consumer that each came by."""

    def __init__(self, wire: Wire, channel: Channel) -> None:
        self.wire = wire
        self.channel = channel
        self.outstanding: dict[int, object] = {}
        self.consumers: dict[str, tuple[object, int]] = {}  # by the server's tag: our mark, and its prefetch
        self.acks: list[int] = []
        self.others: list[Settlement] = []

    def free(self, prefetch: int) -> int:
        """How much a new consumer may be given: the server counts each consumer for itself, and what an ended one gave is
        still held. While it is, a further one has at least as much as those before, so that there are few."""
        marks = [mark for mark, _ in self.consumers.values()]
        orphans = sum(mark not in marks for mark in self.outstanding.values())
        given = sum(given for _, given in self.consumers.values())
        free = prefetch - orphans - given
        return 0 if orphans and free < given else max(free, 0)

    def packed(self) -> list[Settlement]:
        """Single nacks first; then one ack of the contiguous prefix; then what was settled behind a gap."""
        oldest = next(iter(self.outstanding), None)
        self.acks.sort()
        prefix = [tag for tag in self.acks if oldest is None or tag < oldest]
        parts = [*self.others]
        if prefix:
            parts.append(("ack", prefix[-1], True))
        parts += [("ack", tag, False) for tag in self.acks[len(prefix) :]]
        self.acks, self.others = [], []
        return parts


class SimulatedSubscription:
    """Keeps consuming until closed."""

    def __init__(self, broker: SimulatedBroker, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> None:
        self._broker = broker
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._hold: Hold | None = None
        self._wanted = False
        self._scheduled = False
        self._closed = False
        self._change = asyncio.Event()
        self._adjusted = asyncio.Event()
        broker.consuming.lost.append(self._lost)
        self._loop = broker.supervisor.start(f"subscription {queue}", self._keep, patience=None)

    @property
    def active(self) -> bool:
        return self._hold is not None and bool(self._hold.consumers) and not self._hold.wire.lost

    def ack(self, delivery: Delivery) -> None:
        if (hold := self._take_back(delivery)) is not None:
            hold.acks.append(delivery.tag[1])

    def hand_back(self, delivery: Delivery) -> None:
        if (hold := self._take_back(delivery)) is not None:
            hold.others.append(("back", delivery.tag[1], False))

    def reject(self, delivery: Delivery) -> None:
        if (hold := self._take_back(delivery)) is not None:
            hold.others.append(("reject", delivery.tag[1], False))

    async def postpone(self, delivery: Delivery, message: Message) -> None:
        hold: Hold = delivery.tag[0]
        if hold is not self._hold or delivery.tag[1] not in hold.outstanding:
            return  # no longer ours: the broker hands it out again
        await self._broker.publish([message])[0]
        self.ack(delivery)

    async def pause(self) -> None:
        await self._want(False)

    async def resume(self) -> None:
        await self._want(True)

    def limit(self, prefetch: int) -> None:
        self._prefetch = prefetch

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._loop.stop()
        self._broker.consuming.lost.remove(self._lost)
        hold, self._hold = self._hold, None
        if hold is not None:
            self._write(hold)
            # Behind the acks in the same stream: it returns what is left.
            await asyncio.wait({hold.wire.call(self._broker.server.close_channel, hold.channel)}, timeout=2.0)

    async def _want(self, wanted: bool) -> None:
        """Consume or not; returns when it is so, or after the timeout."""
        self._wanted = wanted
        self._adjusted.clear()
        self._change.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._broker.timeout):
                await self._adjusted.wait()

    async def _keep(self, beat: Beat) -> None:
        pause = 0.1
        while True:
            self._change.clear()
            try:
                await self._adjust()
                pause = 0.1
                beat()
                await self._change.wait()
            except (ConnectionLost, TimeoutError, LookupError):
                self._lost()
                await asyncio.sleep(self._broker.chance.uniform(0.05, pause))
                pause = min(pause * 2, 5.0)

    async def _adjust(self) -> None:
        """Make the server's view of us what is wanted."""
        await self._broker.consuming.up.wait()
        async with asyncio.timeout(10.0):
            if self._wanted:
                await self._consume()
            else:
                await self._cancel()
        self._adjusted.set()

    async def _consume(self) -> None:
        hold = self._hold or self._open()
        free = hold.free(self._prefetch)
        if not free:
            return
        mark = object()
        deliver = lambda tag, message, count, death: self._arrived(hold, mark, tag, message, count, death)  # noqa: E731
        tag = await hold.wire.call(self._broker.server.consume, hold.channel, self._queue, free, deliver)
        if hold is not self._hold:
            raise ConnectionLost("lost while the answer was on its way")
        hold.consumers[tag] = mark, free

    async def _cancel(self) -> None:
        hold = self._hold
        while hold is not None and hold.consumers:
            tag = next(iter(hold.consumers))
            await hold.wire.call(self._broker.server.cancel, hold.channel, tag)
            hold.consumers.pop(tag, None)

    def _open(self) -> Hold:
        wire = self._broker.consuming.wire
        if wire is None:
            raise ConnectionLost("between two connections")
        channel = Channel(wire, _never, _never, lambda _: self._lost(), lambda _: self._lost())
        wire.to_server.send(self._broker.server.open_channel, channel)
        self._hold = Hold(wire, channel)
        return self._hold

    def _arrived(self, hold: Hold, mark: object, tag: int, message: Message, count: int, death: Reason | None) -> None:
        hold.outstanding[tag] = mark
        self._deliver(Delivery(self._queue, message.headers, message.body, count, death, (hold, tag)))

    def _take_back(self, delivery: Delivery) -> Hold | None:
        """The channel's hold, if the delivery is still ours there."""
        hold: Hold = delivery.tag[0]
        if hold is not self._hold or delivery.tag[1] not in hold.outstanding:
            return None
        del hold.outstanding[delivery.tag[1]]
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)
        return hold

    def _flush(self) -> None:
        self._scheduled = False
        hold = self._hold
        if hold is None:
            return
        self._write(hold)
        if self._wanted and hold.free(self._prefetch) > 0:
            self._change.set()

    def _write(self, hold: Hold) -> None:
        if hold.acks or hold.others:
            hold.wire.to_server.send(self._broker.server.settle, hold.channel, hold.packed())

    def _lost(self) -> None:
        """Nothing that we hold is ours any more."""
        hold, self._hold = self._hold, None
        if hold is not None and not hold.wire.lost:
            hold.wire.to_server.send(self._broker.server.close_channel, hold.channel)
        self._change.set()


def _never(*_: object) -> None:
    """Nothing is published here."""
