"""Whether the outcome store is there: it takes writes, as far as anybody has seen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from core.chance import Chance
from core.errors import StoreUnavailable
from telemetry import logs, metrics
from telemetry.supervisor import Beat

_log = logs.get("consumer.ledger")

# The store is asked whether it is back after 0.1 s, then at growing, jittered intervals of up to 2 s. They begin again only when it
# has stayed for STEADY: one that comes and goes is asked no more often than one that is gone.
FIRST_PAUSE, LAST_PAUSE, STEADY = 0.1, 2.0, 10.0
# An adapter answers within its own timeouts; this is for one that does not. Seconds.
ANSWER_WITHIN = 30.0
# A store that nothing is asked of is asked whether it is there: jobs that come then find a consumer that knows, which takes none of
# them, and the controller adds no others. Seconds since its last answer.
IDLE = 5.0


class Presence:
    """Learns of an unavailable store from its callers; finds out when it is back.

    ask: raises StoreUnavailable while the store does not take writes. Called before anything else is when it may be back.
    look: the same, for a store that is up.
    changed: called with True when the store is back, with False when it went away.
    """

    def __init__(self, ask: Callable[[], Awaitable[None]], look: Callable[[], Awaitable[None]], chance: Chance) -> None:
        self._ask = ask
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._answered_at = float("-inf")
        self._chance = chance
        self._pause = FIRST_PAUSE
        self._back_at = float("-inf")
        self._gone = asyncio.Event()
        self.up = True
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._impatient = False
        self.changed: list[Callable[[bool], None]] = []

    async def back(self) -> None:
        """Wait until the store is back. Raises StoreUnavailable as soon as callers are to wait for it no longer."""
        await self._may_go_on.wait()
        if not self.up:
            raise StoreUnavailable("the outcome store is away, and this program is ending")

    def answered(self) -> None:
        """The store has answered something."""
        self._answered_at = self._loop.time()

    def wait_no_longer(self) -> None:
        """The program is ending: callers that wait for the store give up, now and from now on."""
        self._impatient = True
        self._may_go_on.set()

    def went_away(self, error: Exception) -> None:
        if not self.up:
            return
        _log.warning("the outcome store is away: no deliveries are begun until it is back", why=logs.brief(error))
        if self._loop.time() - self._back_at >= STEADY:
            self._pause = FIRST_PAUSE
        self.up = False
        self._gone.set()
        if not self._impatient:
            self._may_go_on.clear()
        metrics.STORE_UP.set(0)
        self._tell(False)

    async def watch(self, beat: Beat) -> None:
        """For a Supervisor."""
        while True:
            beat()
            if self.up:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE):
                        await self._gone.wait()
                if self.up and self._loop.time() - self._answered_at >= IDLE:
                    await self._see()
            else:
                await self._try()

    async def _see(self) -> None:
        if (error := await _failure(self._look)) is not None:
            self.went_away(error)

    async def _try(self) -> None:
        await asyncio.sleep(self._chance.uniform(self._pause / 2, self._pause))
        self._pause = min(self._pause * 2, LAST_PAUSE)
        if await _failure(self._ask) is not None:
            return
        _log.info("the outcome store is back")
        metrics.STORE_UP.set(1)
        self._back_at = self._loop.time()
        self.up = True
        self._gone.clear()
        self._may_go_on.set()
        self._tell(True)

    def _tell(self, up: bool) -> None:
        for listener in tuple(self.changed):
            listener(up)


async def _failure(ask: Callable[[], Awaitable[None]]) -> Exception | None:
    """Why the store does not answer; None where it does."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN / 2):
            await ask()
    except (StoreUnavailable, TimeoutError) as error:
        return error
    return None
