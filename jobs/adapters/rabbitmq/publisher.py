"""Publishing: a window is one write, and each message's future waits in the channel's table of confirms."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError

from jobs.adapters.rabbitmq import frames
from jobs.errors import BrokerUnavailable, PublishTimeout, Unroutable
from jobs.ports import Message
from jobs.topology import EXCHANGE, delay_exchange, delay_key, delay_seconds


class Publisher:
    """One confirming channel. timeout: seconds that a confirm may take."""

    def __init__(self, channel: Channel, connection: AbstractConnection, timeout: float) -> None:
        self._channel = channel
        self._frame_max = connection.connection_tune.frame_max
        self._timeout = timeout
        self.timed_out = False

    @property
    def closed(self) -> bool:
        return bool(self._channel.is_closed)

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        """Write the window. Raises BrokerUnavailable when the connection's write buffer is full: nothing was sent."""
        loop = asyncio.get_running_loop()
        channel = self._channel
        if channel.write_queue.full():
            raise BrokerUnavailable("the connection's write buffer is full")
        packed, futures = [], []
        for message in window:
            channel.delivery_tag += 1
            tag = channel.delivery_tag
            # A job may be under way twice; the table of returns needs a name for each.
            name = message.job_id if message.job_id not in channel.message_id_delivery_tag else f"{message.job_id}#{tag}"
            packed.append(self._pack(message, name))
            confirm, future = loop.create_future(), loop.create_future()
            confirm.add_done_callback(lambda done, n=name, f=future: self._confirmed(done, n, f))  # type: ignore[misc]
            channel.confirmations[tag] = confirm
            channel.message_id_delivery_tag[name] = tag
            futures.append(future)
        channel.write_queue.put_nowait(ChannelFrame(payload=b"".join(packed), should_close=False, drain_future=None))
        loop.call_later(self._timeout, self._give_up, futures)
        return futures

    def fail_all(self) -> None:
        """The connection is gone: what waits may have been taken by the broker or not."""
        waiting, self._channel.confirmations = self._channel.confirmations, {}
        for confirm in waiting.values():
            if not confirm.done():
                confirm.set_exception(PublishTimeout("the connection ended before the confirm"))

    def _pack(self, message: Message, name: str) -> bytes:
        exchange, key = _route(message)
        return frames.publish(
            self._channel.number,
            self._frame_max,
            exchange,
            key,
            headers=message.headers,
            body=message.body,
            message_id=name,
            job_type=message.job_type,
            priority=message.priority,
        )

    def _confirmed(self, done: asyncio.Future[object], name: str, future: asyncio.Future[None]) -> None:
        self._channel.message_id_delivery_tag.pop(name, None)
        error = PublishTimeout("the connection ended before the confirm") if done.cancelled() else done.exception()
        if error is None:
            self.timed_out = False
        if future.done():
            return
        match error:
            case None:
                future.set_result(None)
            case PublishError():
                future.set_exception(Unroutable("the broker has no queue for it"))
            case DeliveryError():
                future.set_exception(BrokerUnavailable("the broker refused it (nack)"))
            case PublishTimeout():
                future.set_exception(error)
            case _:
                future.set_exception(PublishTimeout(f"the connection ended before the confirm: {error}"))

    def _give_up(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                self.timed_out = True
                future.set_exception(PublishTimeout(f"no confirm within {self._timeout:g} s"))


def _route(message: Message) -> tuple[str, str]:
    """Exchange and routing key. A delayed message enters the ladder at its highest set bit."""
    if message.queue is None:
        return EXCHANGE, message.job_type
    seconds = delay_seconds(message.delay)
    if seconds:
        return delay_exchange(seconds.bit_length() - 1), delay_key(message.delay, message.queue)
    return "", message.queue
