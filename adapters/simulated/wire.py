"""A connection between a program and a simulated server: in order each way, late, and lost with what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

Call = Callable[..., Any]

# Messages sent later arrive later: the event loop's heap keeps no order between equal times.
_APART = 1e-6


class ConnectionLost(Exception):
    """The connection has ended, or there is no server."""


class Way:
    """One direction. An arrival runs in the receiver's context, so that it is the receiver's and not the sender's.

    held: nothing arrives; it waits, in order, until `release`.
    """

    def __init__(self, wire: Wire, context: Context, delay: Callable[[], float]) -> None:
        self.held = False
        self._wire = wire
        self._context = context
        self._delay = delay
        self._last = 0.0
        self._waiting: list[tuple[Call, tuple[Any, ...]]] = []

    def send(self, call: Call, *args: Any) -> None:
        """Have `call(*args)` run at the other end, unless the connection is lost before it arrives."""
        if self._wire.lost:
            return
        loop = asyncio.get_running_loop()
        self._last = max(self._last + _APART, loop.time() + self._delay())
        loop.call_at(self._last, self._arrive, call, args, context=self._context)

    def release(self) -> None:
        """Deliver the messages that were held back."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        for call, args in waiting:
            loop.call_soon(self._arrive, call, args, context=self._context)

    def _arrive(self, call: Call, args: tuple[Any, ...]) -> None:
        if self._wire.lost:
            return
        if self.held:
            self._waiting.append((call, args))
        else:
            call(*args)


class Wire:
    """One connection of one program.

    publishes: an alarm of the server stops it. farewell: the error that a pending call ends with when the connection does.
    """

    def __init__(
        self, server: Context, delay: Callable[[], float], farewell: Callable[[], BaseException], *, publishes: bool
    ) -> None:
        client = copy_context()
        self.lost = False
        self.publishes = publishes
        self.ended = asyncio.Event()
        self.to_server, self.to_client = Way(self, server, delay), Way(self, client, delay)
        self.client_told: list[Call] = []
        self.server_told: list[Call] = []
        self._contexts = client, server
        self._farewell = farewell
        self._pending: dict[asyncio.Future[Any], None] = {}

    def call(self, function: Call, *args: Any) -> asyncio.Future[Any]:
        """Have the server answer. The future fails with ConnectionLost, or worse, when the connection ends before."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.lost:
            future.set_exception(ConnectionLost("it has ended"))
            return future
        self._pending[future] = None
        future.add_done_callback(lambda done: self._pending.pop(done, None))
        self.to_server.send(self._serve, future, function, args)
        return future

    def cut(self, client_after: float = 0.0, server_after: float = 0.0) -> None:
        """End it. Messages on the way are lost; each end learns of it the given number of seconds later."""
        if self.lost:
            return
        self.lost = True
        loop = asyncio.get_running_loop()
        client, server = self._contexts
        loop.call_later(client_after, self._tell_client, context=client)
        for told in self.server_told:
            loop.call_later(server_after, told, context=server)

    def _tell_client(self) -> None:
        self.ended.set()
        for future in list(self._pending):
            if not future.done():
                _end(future, self._farewell())
        for told in tuple(self.client_told):
            told()

    def _serve(self, future: asyncio.Future[Any], function: Call, args: tuple[Any, ...]) -> None:
        try:
            answer, error = function(*args), None
        except Exception as raised:
            answer, error = None, raised
        self.to_client.send(_answer, future, answer, error)


def _answer(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)


def _end(future: asyncio.Future[Any], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        future.cancel()  # libraries do: it reads like a cancellation by the caller that waits
    else:
        future.set_exception(error)
        future.exception()  # its result need not be read
