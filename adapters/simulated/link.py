"""The client's connection: made again whenever it ends; it notifies its listeners."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from adapters.simulated.server import BrokerServer
from adapters.simulated.wire import ConnectionLost, Wire
from core.chance import Chance
from telemetry.supervisor import Beat, Supervised, Supervisor

# Full jitter up to 0.2 s ... 5 s between two attempts to connect.
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0
# The server is probed every PROBE seconds; without an answer for STUCK_AFTER seconds the connection is ended, as heartbeats do.
PROBE, STUCK_AFTER = 3.0, 9.0


class Link:
    """Keeps one connection. ready: called with each new one before it counts as up; answered: with each answer to a probe."""

    def __init__(
        self,
        server: BrokerServer,
        name: str,
        timeout: float,
        chance: Chance,
        ready: Callable[[Wire], Awaitable[None]],
        *,
        publishes: bool,
    ) -> None:
        self._server = server
        self._name = name
        self._timeout = timeout
        self._chance = chance
        self._ready = ready
        self._publishes = publishes
        self._loop: Supervised | None = None
        self._pause = _FIRST_PAUSE
        self.wire: Wire | None = None
        self.down: str | None = "connecting"
        self.up = asyncio.Event()
        self.lost: list[Callable[[], None]] = []
        self.answered: Callable[[], None] = lambda: None

    def begin(self, supervisor: Supervisor) -> None:
        """Begin to connect, in the background; once."""
        if self._loop is None:
            self._loop = supervisor.start(f"link {self._name}", self._keep, patience=None)

    async def open(self, supervisor: Supervisor) -> None:
        """Begin; returns when connected, or after the connect timeout."""
        self.begin(supervisor)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self.up.wait()

    async def close(self) -> None:
        if self._loop is not None:
            await self._loop.stop()
        self._end("closed")

    async def _keep(self, beat: Beat) -> None:
        try:
            while True:
                reason = await self._once()
                self._end(reason)
                beat()
                await asyncio.sleep(self._chance.uniform(0.05, self._pause))
                self._pause = min(self._pause * 2, _LAST_PAUSE)
        finally:
            self._end(self.down or "the link ended")

    async def _once(self) -> str:
        """One connection, from its beginning to its end; says why it ended."""
        try:
            async with asyncio.timeout(self._timeout):
                self.wire = await self._server.connect(self._name, publishes=self._publishes)
                await self._ready(self.wire)
        except (ConnectionLost, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        self.down, self._pause = None, _FIRST_PAUSE
        self.up.set()
        return await self._watch(self.wire)

    async def _watch(self, wire: Wire) -> str:
        silent = 0.0
        while not wire.lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE):
                    await wire.ended.wait()
            if wire.ended.is_set():
                break
            probe = wire.call(_nothing)
            await asyncio.wait({probe}, timeout=1.0)
            if probe.done() and not probe.cancelled() and probe.exception() is None:
                silent, self.down = 0.0, None
                self.answered()
            elif self._server.alarm and self._publishes:
                silent, self.down = 0.0, "blocked by the broker: a memory or disk alarm"  # it tells: connection.blocked
            else:
                silent, self.down = silent + PROBE, "the broker does not answer"
            if silent >= STUCK_AFTER:
                return f"no answer for {STUCK_AFTER:g} s"
        return "the connection ended"

    def _end(self, reason: str) -> None:
        self.down = reason
        self.up.clear()
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.cut()
        for listener in tuple(self.lost):
            listener()


def _nothing() -> None:
    """A probe asks for nothing but an answer."""
