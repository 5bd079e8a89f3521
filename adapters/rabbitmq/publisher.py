"""Publishing: a window is one write, and each message's future waits in a table of confirms."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.commands import Basic

from adapters.rabbitmq import frames
from adapters.rabbitmq.calls import why
from adapters.rabbitmq.size_limit import SizeLimit
from core.errors import BrokerError, BrokerUnavailable, PublishTimeout, TooLarge, Unpublishable, Unroutable, WindowFull
from core.ports import Message
from core.topology import EXCHANGE, delay_exchange, delay_key, delay_seconds
from telemetry import logs

# The messages that may wait for their confirms, in bytes; one message alone may be larger. EACH: the bytes of one beside its
# body, about.
MOST_BYTES, EACH = 64 * 2**20, 1000
# A confirm may take the publish timeout, and a second for each BYTES_A_SECOND bytes: the pace of a slow disk and network.
BYTES_A_SECOND = 4 * 2**20
# Where nothing waits: its answer shows that the broker takes and answers publishes.
_NOWHERE = Message("headrace.probe", "headrace.probe", {}, b"", queue="headrace.nowhere")
# The same on the exchange of jobs, which the user may have no right to.
_NOBODYS = Message("headrace.proof", "headrace.nowhere", {}, b"")


class _Sent(NamedTuple):
    """The publishes that wait for their confirms."""

    future: asyncio.Future[None]
    name: str
    message: Message

    @property
    def size(self) -> int:
        return EACH + len(self.message.body)


class Publisher:
    """One confirming channel, on which nothing else publishes: its tags are counted here.

    timeout: seconds that a confirm may take, beside those for the bytes. unroutable: called with each message that the broker
    returned.
    """

    def __init__(self, channel: Channel, timeout: float, limit: SizeLimit, unroutable: Callable[[Message], None]) -> None:
        self._channel = channel
        self._timeout = timeout
        self._limit = limit
        self._unroutable = unroutable
        self._tag = 0
        self._sent: dict[int, _Sent] = {}
        self._names: dict[str, int] = {}  # message ids, and their tags
        self._bytes = 0
        # Until when which tags may wait for their confirm, and for how many seconds that is; up to which tag that was looked at.
        self._due: deque[tuple[float, int, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._looked = 0
        self.timed_out = False
        # aiormq's own table makes a second future for each message, and looks through all that wait at each `multiple`.
        channel._on_confirm_frame = self._confirmed  # type: ignore[assignment, method-assign]
        channel._on_return_frame = self._returned  # type: ignore[assignment, method-assign]

    @property
    def closed(self) -> bool:
        return bool(self._channel.is_closed)

    def publish(self, window: Sequence[Message], held_back: Collection[str] = ()) -> list[asyncio.Future[None]]:
        """Write the window. A message that cannot be written fails alone. held_back: job ids that are not sent now."""
        futures: list[asyncio.Future[None]] = []
        packed: list[bytes] = []
        taken: list[_Sent] = []
        names: set[str] = set()
        waiting = self._bytes
        for message in window:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            futures.append(future)
            try:
                self._admit(message, held_back, waiting)
                name = self._name(message.job_id, names, self._tag + len(packed) + 1)
                packed.append(self._pack(message, name))
            except BrokerError as error:
                future.set_exception(error)
            except Exception as error:  # a text that AMQP cannot hold, or anything else about this one message
                future.set_exception(Unpublishable(f"it is no AMQP message: {logs.brief(error)}"))
            else:
                names.add(name)
                taken.append(_Sent(future, name, message))
                waiting += taken[-1].size
        if taken:
            self._write(packed, taken)
        return futures

    def probe(self) -> None:
        """See whether the broker answers publishes, where no job shows it."""
        if _NOWHERE.job_id not in self._names:
            self.publish([_NOWHERE])[0].add_done_callback(lambda done: done.cancelled() or done.exception())

    async def prove(self) -> None:
        """See that jobs are taken. Raises BrokerUnavailable or PublishTimeout."""
        (proof,) = self.publish([_NOBODYS])
        await asyncio.wait({proof, self._channel.closing}, timeout=self._timeout + 1.0)
        if not proof.done():
            closed = self._channel.closing
            raise BrokerUnavailable(why(closed.exception()) if closed.done() and not closed.cancelled() else "no answer in time")
        if not isinstance(error := proof.exception(), Unroutable | None):
            raise error

    def fail_all(self, why: str) -> None:
        """The channel is gone: the broker may have taken waiting messages or not; it has not taken one above its limit."""
        self._limit.learn(why)
        sent, self._sent, self._names, self._bytes = self._sent, {}, {}, 0
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for one in sent.values():
            if one.future.done():
                continue
            if 0 < self._limit.most < (size := len(one.message.body)):
                one.future.set_exception(TooLarge(size, self._limit.most))
            else:
                one.future.set_exception(PublishTimeout(f"the channel ended before the confirm: {why}"))

    def _admit(self, message: Message, held_back: Collection[str], waiting: int) -> None:
        """Raises why it is not sent now. waiting: bytes before it."""
        size = len(message.body)
        if 0 < self._limit.most < size:
            raise TooLarge(size, self._limit.most)
        if waiting and waiting + size > MOST_BYTES:
            raise WindowFull(f"{waiting} bytes wait for the broker's confirm already")
        if message.job_id in held_back:
            raise BrokerUnavailable("its queue was gone and is new: nothing is published to it until it is written down")

    def _name(self, job_id: str, names: Collection[str], tag: int) -> str:
        """The message id, by which a return is known: the job's, or another one where the job is under way already."""
        return f"{job_id}#{tag}" if job_id in self._names or job_id in names else job_id

    def _write(self, packed: list[bytes], taken: list[_Sent]) -> None:
        """Nothing that can fail stands between the frames and their tags: the broker counts frames."""
        try:
            frame = ChannelFrame(payload=b"".join(packed), should_close=False, drain_future=None)
            self._channel.write_queue.put_nowait(frame)
        except (asyncio.QueueFull, MemoryError) as error:
            for one in taken:
                one.future.set_exception(BrokerUnavailable(f"it cannot be written now: {type(error).__name__}"))
            return
        for one in taken:
            self._tag += 1
            self._sent[self._tag] = one
            self._names[one.name] = self._tag
            self._bytes += one.size
        self._await_confirms()

    def _pack(self, message: Message, name: str) -> bytes:
        exchange, key = _route(message)
        return frames.publish(
            self._channel.number,
            self._channel.connection.connection_tune.frame_max,
            exchange,
            key,
            headers=message.headers,
            body=message.body,
            message_id=name,
            job_type=message.job_type,
            priority=message.priority,
        )

    async def _confirmed(self, frame: Basic.Ack | Basic.Nack) -> None:
        """In the place of aiormq's `_on_confirm_frame`."""
        last = frame.delivery_tag or 0
        error = BrokerUnavailable("the broker refused it (nack)") if isinstance(frame, Basic.Nack) else None
        if not frame.multiple:
            self._settle(last, error)
            return
        done = []
        for tag in self._sent:  # in the order of their tags
            if tag > last:
                break
            done.append(tag)
        for tag in done:
            self._settle(tag, error)

    def _settle(self, tag: int, error: BrokerError | None) -> None:
        one = self._sent.pop(tag, None)
        if one is None:
            return
        self.timed_out = False  # the broker answers
        self._bytes -= one.size
        self._names.pop(one.name, None)
        if one.future.done():
            return
        if error is None:
            one.future.set_result(None)
        else:
            one.future.set_exception(error)

    async def _returned(self, _: Basic.Return) -> None:
        """In the place of aiormq's `_on_return_frame`: read the message, and fail its future. Its ack still follows."""
        header: Any = await self._channel._get_frame()
        left = header.body_size
        while left > 0:
            piece: Any = await self._channel._get_frame()
            left -= len(piece.value)
        one = self._sent.get(self._names.get(header.properties.message_id or "", 0))
        if one is None:
            return
        if not one.future.done():
            one.future.set_exception(Unroutable("the broker has no queue for it"))
        self._unroutable(one.message)

    def _await_confirms(self) -> None:
        """Up to the last tag. A timer of each window's own would hold its messages until it is due: 25,000 at 5,000 a second."""
        loop = asyncio.get_running_loop()
        seconds = self._timeout + self._bytes / BYTES_A_SECOND
        at = max(loop.time() + seconds, self._due[-1][0] if self._due else 0.0)
        self._due.append((at, self._tag, seconds))
        if self._timer is None:
            self._timer = loop.call_at(at, self._give_up)

    def _give_up(self) -> None:
        """Fail what is due. It still waits for its confirm, and its bytes count."""
        loop = asyncio.get_running_loop()
        while self._due and self._due[0][0] <= loop.time():
            _, last, seconds = self._due.popleft()
            for tag in range(self._looked + 1, last + 1):
                one = self._sent.get(tag)
                if one is not None and not one.future.done():
                    self.timed_out = True
                    one.future.set_exception(PublishTimeout(f"no confirm within {seconds:.3g} s"))
            self._looked = last
        self._timer = loop.call_at(self._due[0][0], self._give_up) if self._due else None


def failed(window: Sequence[Message], reason: str) -> list[asyncio.Future[None]]:
    """A future each that says so."""
    futures: list[asyncio.Future[None]] = []
    for _ in window:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(BrokerUnavailable(reason))
        futures.append(future)
    return futures


def _route(message: Message) -> tuple[str, str]:
    """Exchange and routing key. A delayed message enters the ladder at its highest set bit."""
    if message.queue is None:
        return EXCHANGE, message.job_type
    seconds = delay_seconds(message.delay)
    if seconds:
        return delay_exchange(seconds.bit_length() - 1), delay_key(message.delay, message.queue)
    return "", message.queue
