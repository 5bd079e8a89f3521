"""Whether this process takes deliveries. A controller that is about to remove it forbids that, for some seconds at a time: when its
figures then say that it runs nothing, or nothing that outlasts the drain, it can go and no run is lost.

A lease, because a controller may die between the two: then the process takes deliveries again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from jobs.errors import SettingsError
from telemetry import logs
from telemetry.supervisor import Supervisor

_log = logs.get("consumer.cordon")

# Longer would make a mistake last.
MOST_SECONDS = 300.0


class Cordoned(Protocol):
    """A queue of this process."""

    async def cordon(self) -> None: ...

    async def uncordon(self) -> None: ...


class Cordon:
    """Of all queues of the process together, since it is removed as one."""

    def __init__(self, queues: Sequence[Cordoned], supervisor: Supervisor) -> None:
        """supervisor: the program's."""
        self._queues = queues
        self._supervisor = supervisor
        self._turn = asyncio.Lock()  # a resume that is under way and a pause would overtake each other
        self._end: asyncio.TimerHandle | None = None
        self._closed = False
        self.stands = False

    async def put(self, seconds: float) -> None:
        """Take nothing more for so many seconds, counted from now, and hand back what has not begun; 0: take deliveries again."""
        if self._closed:
            return
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if seconds > 0:
            self._end = asyncio.get_running_loop().call_later(seconds, self._over)
        await self._set(seconds > 0)

    def close(self) -> None:
        """The process drains: it takes nothing more in any case."""
        self._closed = True
        if self._end is not None:
            self._end.cancel()

    def _over(self) -> None:
        self._end = None
        _log.warning("nobody renewed the cordon: taking deliveries again")
        self._supervisor.once("end of the cordon", self._set(False))

    async def _set(self, stands: bool) -> None:
        async with self._turn:
            if stands is self.stands or (stands and self._end is None):  # or it was lifted while this waited for its turn
                return
            self.stands = stands
            _log.info("cordoned: taking no deliveries" if stands else "taking deliveries")
            await asyncio.gather(*(queue.cordon() if stands else queue.uncordon() for queue in self._queues))


def seconds_of(asked: Any) -> float:
    """What the body `{"seconds": 15}` asks for. Raises SettingsError for any other."""
    seconds = asked.get("seconds") if isinstance(asked, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
        raise SettingsError(
            f'the body must be {{"seconds": N}}, with N from 0 to {MOST_SECONDS:g}: the time for which nothing is taken'
        )
    return float(seconds)
