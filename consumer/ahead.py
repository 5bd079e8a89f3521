"""Whether a queue of this process takes deliveries ahead of what it can run. Where they would wait behind long jobs while another
consumer has a free slot, the controller, which sees both, forbids that for some seconds.

They go back to the broker, which gives them to a consumer that can run them; and since no consumer takes jobs ahead, each goes back
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from consumer.leased import MOST_SECONDS, Leased, seconds_in
from core.errors import SettingsError
from telemetry import logs
from telemetry.supervisor import Supervisor

_log = logs.get("consumer.ahead")


class TakesAhead(Protocol):
    """A queue of this process."""

    queue: str

    async def take_what_runs(self) -> None: ...

    async def take_ahead(self) -> None: ...


class NothingAhead(Leased):
    """Of one queue. While it stands, no more is held than can run."""

    def __init__(self, of: TakesAhead, supervisor: Supervisor) -> None:
        """supervisor: the program's."""
        super().__init__(f"lease of {of.queue} to take nothing ahead", of.take_what_runs, of.take_ahead, supervisor)
        self._queue = of.queue

    def changed(self) -> None:
        _log.info("taking nothing ahead" if self.stands else "taking deliveries ahead again", queue=self._queue)


def by_queue(queues: Sequence[TakesAhead], supervisor: Supervisor) -> dict[str, NothingAhead]:
    return {one.queue: NothingAhead(one, supervisor) for one in queues}


def asked_of(asked: Any, leases: Mapping[str, NothingAhead]) -> tuple[NothingAhead, float]:
    """The queue and the seconds of the body `{"queue": "email", "seconds": 30}`. Raises SettingsError for any other body."""
    seconds, queue = seconds_in(asked), asked.get("queue") if isinstance(asked, dict) else None
    if seconds is None or not isinstance(queue, str) or queue not in leases:
        raise SettingsError(
            f'the body must be {{"queue": NAME, "seconds": N}}, with one of {", ".join(leases)} and N from 0 to {MOST_SECONDS:g}: '
            "the time for which it takes nothing ahead"
        )
    return leases[queue], seconds
