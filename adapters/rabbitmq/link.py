"""A connection that is made again whenever it ends, with jittered backoff; it notifies its listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aio_pika

from adapters.rabbitmq.calls import Pauses, calls, close_quietly, within
from adapters.rabbitmq.connection import Connection, connection_to
from core.errors import BrokerError, BrokerUnavailable
from telemetry import logs
from telemetry.supervisor import Beat, Supervised, Supervisor, cancelled

_log = logs.get("rabbitmq")

# Pauses up to 0.2 s, 0.4 s ... 5 s: a broker that restarts is not met by all programs at once.
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0
# The broker and we show life every 10 s; aiormq gives a silent connection up after three of these.
HEARTBEAT = 10
# A connection whose probe has failed for this number of seconds is ended by us, without waiting for the heartbeats.
STUCK_AFTER = 8.0
# How long a farewell may take: a stalled peer never answers it.
_FAREWELL = 2.0
# Loops show life at least so often.
TURN = 1.0
# Beside the connect timeout: how long a loop may be at one step.
PATIENCE = 30.0


class Link:
    """Keeps one connection.

    url: called by each attempt, so that a password that was changed is used by the next one. timeout: seconds for an
    attempt. ca_file: authorities to trust. down: why it cannot be used, or None.
    """

    def __init__(self, url: Callable[[], str], name: str, timeout: float, supervisor: Supervisor, ca_file: str = "") -> None:
        self._url = url
        self._name = name
        self._timeout = timeout
        self._supervisor = supervisor
        self._ca_file = ca_file
        self._loop: Supervised | None = None
        self._probe_channel: aio_pika.abc.AbstractChannel | None = None
        self._wake = asyncio.Event()
        self.connection: Connection | None = None
        self.down: str | None = "connecting"
        self.up = asyncio.Event()
        self.lost: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Begin to connect, in the background; once."""
        if self._loop is None:
            self._loop = self._supervisor.start(f"rabbitmq {self._name}", self._keep, patience=PATIENCE + self._timeout)

    async def close(self) -> None:
        if self._loop is None:
            return
        await self._loop.stop()
        if (farewell := self._end("closed")) is not None:
            await asyncio.wait({farewell}, timeout=_FAREWELL)
            await cancelled(farewell)

    async def connected(self, beat: Beat) -> Connection:
        """Wait for a connection."""
        while self.connection is None or not self.up.is_set():
            beat()
            await within(self.up, TURN)
        return self.connection

    async def _keep(self, beat: Beat) -> None:
        self._end(self.down or "beginning anew")
        pauses = Pauses(self._supervisor.chance, _FIRST_PAUSE, _LAST_PAUSE)
        while True:
            beat()
            try:
                connection = await self._connect()
                pauses.begin()
                reason = await self._watch(connection, beat)
            except BrokerError as error:
                reason = str(error)
            if self.down != reason:
                _log.warning("the broker cannot be used; trying again", link=self._name, why=reason)
            self._end(reason)
            await pauses.sleep()

    async def _connect(self) -> Connection:
        connection = connection_to(self._url(), self._name, HEARTBEAT, self._ca_file)
        with calls():
            async with asyncio.timeout(self._timeout):
                await connection.connect()
        self.connection = connection
        self._wake.clear()
        connection.close_callbacks.add(self._ended_by_itself)
        self.down = None
        self.up.set()
        _log.info("connected to the broker", link=self._name)
        return connection

    def _ended_by_itself(self, _: object, __: BaseException | None) -> None:
        self._wake.set()

    async def _watch(self, connection: Connection, beat: Beat) -> str:
        """Probe the connection every second; returns why it is to be ended."""
        silent = 0.0
        while connection.underneath.is_opened:
            beat()
            self.down = await self._probe(connection)
            stuck = self.down is not None and not self.blocked
            silent = silent + 1.0 if stuck else 0.0
            if silent >= STUCK_AFTER:
                return f"no answer for {STUCK_AFTER:g} s"
            await within(self._wake, TURN)
        return "the connection ended"

    @property
    def blocked(self) -> bool:
        """Whether an alarm of the broker's keeps publishers waiting."""
        return self.down is not None and self.down.startswith("blocked")

    async def _probe(self, connection: Connection) -> str | None:
        """The fault of a connection: blocked by an alarm, or without an answer."""
        try:
            async with asyncio.timeout(0.2):
                await connection.underneath.ready()
        except TimeoutError:
            return "blocked by the broker: a memory or disk alarm"
        try:
            with calls():
                async with asyncio.timeout(1.0):
                    await self._ask(connection)
        except BrokerUnavailable as error:
            return f"the broker does not answer: {error}"
        return None

    async def _ask(self, connection: Connection) -> None:
        if self._probe_channel is None or self._probe_channel.is_closed:
            channel = connection.channel(publisher_confirms=False)
            await channel.initialize()
            self._probe_channel = channel
        await self._probe_channel.set_qos(prefetch_count=1)

    def _end(self, reason: str) -> asyncio.Task[None] | None:
        """Nothing of the connection is used any more. Its farewell goes on in the background."""
        self.down = reason
        self.up.clear()
        self._probe_channel = None
        connection, self.connection = self.connection, None
        for listener in tuple(self.lost):
            listener()
        return None if connection is None else self._supervisor.once("rabbitmq farewell", close_quietly(connection, _FAREWELL))
