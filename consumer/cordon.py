"""Whether this process takes deliveries. A controller that is about to remove it forbids that, for some seconds at a time: when its
figures then say that it runs nothing, or nothing that outlasts the drain, it can go and no run is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from consumer.leased import MOST_SECONDS, Leased, seconds_in
from core.errors import SettingsError
from telemetry import logs
from telemetry.supervisor import Supervisor

_log = logs.get("consumer.cordon")


class Cordoned(Protocol):
    """A queue of this process."""

    async def cordon(self) -> None: ...

    async def uncordon(self) -> None: ...


class Cordon(Leased):
    """Of all queues of the process together, since it is removed as one. Deliveries that have not begun are requeued at its
    beginning, and none is taken while it holds."""

    def __init__(self, queues: Sequence[Cordoned], supervisor: Supervisor) -> None:
        """supervisor: the program's."""

        async def begin() -> None:
            await asyncio.gather(*(queue.cordon() for queue in queues))

        async def end() -> None:
            await asyncio.gather(*(queue.uncordon() for queue in queues))

        super().__init__("cordon", begin, end, supervisor)

    def lapsed(self) -> None:
        _log.warning("nobody renewed the cordon: taking deliveries again")

    def changed(self) -> None:
        _log.info("cordoned: taking no deliveries" if self.stands else "taking deliveries")


def seconds_of(asked: Any) -> float:
    """The seconds of the body `{"seconds": 15}`. Raises SettingsError for any other body."""
    if (seconds := seconds_in(asked)) is None:
        raise SettingsError(
            f'the body must be {{"seconds": N}}, with N from 0 to {MOST_SECONDS:g}: the time for which nothing is taken'
        )
    return seconds
