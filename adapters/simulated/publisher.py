"""Publishing: a window is one write, and each message's future waits in the table of confirms."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from adapters.simulated.queues import Channel
from adapters.simulated.server import BrokerServer
from adapters.simulated.wire import Wire
from core.errors import BrokerUnavailable, PublishTimeout, Unroutable
from core.ports import Message


class Publisher:
    """One confirming channel. timeout: seconds that a confirm may take."""

    def __init__(self, server: BrokerServer, wire: Wire, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._tag = 0
        self._waiting: dict[int, tuple[str, asyncio.Future[None]]] = {}
        self._unroutable: dict[str, None] = {}
        self.timed_out = False
        self.channel = Channel(wire, self._confirmed, self._returned, lambda _: None, lambda _: self.fail_all())
        wire.to_server.send(server.open_channel, self.channel)

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = []
        named = []
        for message in window:
            tag = self.next_tag()
            future: asyncio.Future[None] = loop.create_future()
            name = f"{message.job_id}#{tag}"  # a job may be under way twice
            self._waiting[tag] = name, future
            named.append((name, message))
            futures.append(future)
        self.channel.wire.to_server.send(self._server.publish, self.channel, named)
        loop.call_later(self._timeout, self._give_up, futures)
        return futures

    def next_tag(self) -> int:
        """The server counts the same way, from the arrivals: each counted publish is sent."""
        self._tag += 1
        return self._tag

    def fail_all(self) -> None:
        """The connection is gone: waiting publishes may have been taken or not."""
        waiting, self._waiting = self._waiting, {}
        for _, future in waiting.values():
            if not future.done():
                _fail(future, PublishTimeout("the connection ended before the confirm"))

    def _returned(self, name: str) -> None:
        self._unroutable[name] = None

    def _confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        self.timed_out = False
        for each in [t for t in self._waiting if t <= tag] if multiple else [tag]:
            name, future = self._waiting.pop(each, ("", None))
            unroutable = name in self._unroutable
            self._unroutable.pop(name, None)
            if future is None or future.done():
                continue
            if unroutable:
                _fail(future, Unroutable("the broker has no queue for it"))
            elif taken:
                future.set_result(None)
            else:
                _fail(future, BrokerUnavailable("the broker refused it (nack)"))

    def _give_up(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                self.timed_out = True
                _fail(future, PublishTimeout(f"no confirm within {self._timeout:g} s"))


def failed(window: Sequence[Message], reason: str) -> list[asyncio.Future[None]]:
    """Nothing was sent."""
    futures: list[asyncio.Future[None]] = []
    for _ in window:
        futures.append(asyncio.get_running_loop().create_future())
        _fail(futures[-1], BrokerUnavailable(reason))
    return futures


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # its result need not be read
