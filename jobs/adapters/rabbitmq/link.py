"""A connection that is made again whenever it ends, with jittered backoff; its listeners are told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import aiormq
from aiormq.exceptions import AMQPError, ProbableAuthenticationError

from jobs.errors import BrokerUnavailable, TopologyMismatch
from telemetry import logs

_log = logs.get("rabbitmq")

# Full jitter up to 0.2 s, 0.4 s ... 5 s: a broker that restarts is not met by all programs at once.
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0
# The broker and we show life every 10 s; aiormq gives a silent connection up after three of these.
HEARTBEAT = 10
# A connection whose probe has failed for so long is ended by us, without waiting for the heartbeats.
STUCK_AFTER = 8.0


class _Connection(aiormq.Connection):
    # Windows and ack batches that may wait for the writer; aiormq's own 10 would be reached by a burst in one turn.
    FRAME_BUFFER_SIZE = 1024


class Link:
    """Keeps one connection. ready: called with each new connection before it counts as up.

    url: asked for anew by each attempt, so that a password that was changed is used by the next one.
    """

    def __init__(
        self, url: Callable[[], str], name: str, timeout: float, ready: Callable[[aiormq.Connection], Awaitable[None]]
    ) -> None:
        self._url = url
        self._name = name
        self._timeout = timeout
        self._ready = ready
        self._task: asyncio.Task[None] | None = None
        self._probe_channel: aiormq.abc.AbstractChannel | None = None
        self._closed = False
        self.connection: aiormq.Connection | None = None
        self.down: str | None = "connecting"
        self.up = asyncio.Event()
        self.lost: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Begin; returns when connected, or after the connect timeout."""
        self.begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self.up.wait()

    def begin(self) -> None:
        """Begin to connect, in the background; once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        if self._task is None:
            return
        self._closed = True
        await ended(self._task)
        await self._end("closed")

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed:
            try:
                await self._connect()
                pause = _FIRST_PAUSE
                reason = await self._watch()
            except (TopologyMismatch, BrokerUnavailable) as error:
                reason, pause = str(error), _LAST_PAUSE
            except (AMQPError, OSError, TimeoutError) as error:
                reason = why(error)
            if self.down != reason:
                _log.warning("the broker cannot be used; trying again", link=self._name, why=reason)
            await self._end(reason)
            await asyncio.sleep(random.uniform(0.05, pause))
            pause = min(pause * 2, _LAST_PAUSE)

    async def _connect(self) -> None:
        connection = self._new()
        async with asyncio.timeout(self._timeout):
            await connection.connect()
        self.connection = connection
        await self._ready(connection)
        self.down = None
        self.up.set()
        _log.info("connected to the broker", link=self._name)

    def _new(self) -> _Connection:
        """Not connected yet. Raises BrokerUnavailable, without the URL: the library's own error would show it."""
        url = self._url()
        separator = "&" if "?" in url else "?"
        try:
            return _Connection(f"{url}{separator}heartbeat={HEARTBEAT}&name={self._name}")
        except (ValueError, KeyError):
            raise BrokerUnavailable("HEADRACE_BROKER is no URL of a broker: amqp://user:password@host:5672/vhost") from None

    async def _watch(self) -> str:
        """Probe the connection every second; returns why it is to be ended."""
        silent = 0.0
        connection = self.connection
        assert connection is not None  # noqa: S101 - _connect made it
        while not connection.is_closed and connection.is_opened:
            self.down = await self._probe(connection)
            stuck = self.down is not None and not self.down.startswith("blocked")
            silent = silent + 1.0 if stuck else 0.0
            if silent >= STUCK_AFTER:
                return f"no answer for {STUCK_AFTER:g} s"
            await asyncio.sleep(1.0)
        return "the connection ended"

    async def _probe(self, connection: aiormq.Connection) -> str | None:
        """What is wrong with a connection: blocked by an alarm, or without an answer."""
        try:
            async with asyncio.timeout(0.2):
                await connection.ready()
        except TimeoutError:
            return "blocked by the broker: a memory or disk alarm"
        try:
            async with asyncio.timeout(1.0):
                if self._probe_channel is None or self._probe_channel.is_closed:
                    self._probe_channel = await connection.channel()
                await self._probe_channel.basic_qos(prefetch_count=1)
        except TimeoutError:
            return "the broker does not answer"
        except (AMQPError, OSError, RuntimeError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    async def _end(self, reason: str) -> None:
        self.down = reason
        self.up.clear()
        self._probe_channel = None
        connection, self.connection = self.connection, None
        for listener in tuple(self.lost):
            listener()
        if connection is not None and not connection.is_closed:
            # A stalled peer never answers the farewell.
            closing = asyncio.ensure_future(connection.close())
            await asyncio.wait({closing}, timeout=1.0)
            await ended(closing)


def why(error: Exception) -> str:
    """What went wrong, and what to mend where that can be told. Never with the password."""
    if isinstance(error, ProbableAuthenticationError):
        return "RabbitMQ refuses the user or the password of HEADRACE_BROKER (or of its file); tried again and again"
    return f"{type(error).__name__}: {error}"


async def ended(task: asyncio.Future[None]) -> None:
    """Cancel a task of ours that may be inside aiormq, and see it end; at most 5 s.

    aiormq's calls answer a cancellation with their own error when the connection ends in the same moment, so that one
    `cancel()` can be lost; the task's loop must look at a flag of its own besides.
    """
    for _ in range(5):
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        if task.done():
            if not task.cancelled():
                task.exception()  # seen: it was to end
            return
    _log.error("a task did not end when it was cancelled", task=repr(task))
