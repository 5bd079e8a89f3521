"""A request of the controller that holds for some seconds at a time: a lease, which ends by itself when the controller has died."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from telemetry.supervisor import Supervisor

# Longer would make a mistake last.
MOST_SECONDS = 300.0


def seconds_in(asked: Any) -> float | None:
    """`seconds` of a body that asks for a lease; None where that is no number from 0 to MOST_SECONDS."""
    seconds = asked.get("seconds") if isinstance(asked, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
        return None
    return float(seconds)


class Leased:
    """begin, end: called when the lease begins, and when it ends. supervisor: the program's."""

    def __init__(
        self, name: str, begin: Callable[[], Awaitable[object]], end: Callable[[], Awaitable[object]], supervisor: Supervisor
    ) -> None:
        self._name, self._begin, self._finish = name, begin, end
        self._supervisor = supervisor
        self._turn = asyncio.Lock()  # an end that is under way and a beginning would overtake each other
        self._end: asyncio.TimerHandle | None = None
        self._closed = False
        self.stands = False

    async def put(self, seconds: float) -> None:
        """Hold the lease for the given number of seconds, counted from now; 0 ends it."""
        if self._closed:
            return
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if seconds > 0:
            self._end = asyncio.get_running_loop().call_later(seconds, self._over)
        await self._set(seconds > 0)

    def close(self) -> None:
        """The process drains: nothing is begun or ended any more."""
        self._closed = True
        if self._end is not None:
            self._end.cancel()

    def lapsed(self) -> None:
        """It was not renewed."""

    def changed(self) -> None:
        """It begins to stand, or stands no longer."""

    def _over(self) -> None:
        self._end = None
        self.lapsed()
        self._supervisor.once(f"end of the {self._name}", self._set(False))

    async def _set(self, stands: bool) -> None:
        async with self._turn:
            if stands is self.stands or (stands and self._end is None):  # or it was lifted while this waited for its turn
                return
            self.stands = stands
            self.changed()
            await (self._begin() if stands else self._finish())
