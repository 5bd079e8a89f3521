"""Outcomes and claims in an SQLite file: the OutcomeStore port for one machine. Its tables: `deliveries.py`, `dead_letters.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from adapters.sqlite import dead_letters, deliveries, schema
from adapters.sqlite.moment import Moment
from adapters.sqlite.store import SqliteStore
from core.clock import Clock
from core.model import State
from core.ports import Answer, Claim, DeadLetter, DeadPage, JobRecord, Outcome, Queued
from core.settings import Settings
from telemetry.supervisor import Supervisor

# One purge holds the write lock for some 10 ms.
PURGE_BATCH = 500


class SqliteOutcomes(SqliteStore):
    """Every method is one transaction."""

    def __init__(self, path: str, settings: Settings, clock: Clock, supervisor: Supervisor | None = None) -> None:
        super().__init__(path, settings, clock, supervisor)
        self._retention = settings.retention

    async def ping(self) -> None:
        """A transaction that changes nothing needs no room on the disk: this one writes a page that says the same as before."""
        await self.open()
        await self._write(schema.write_version)

    async def queued(self, records: Sequence[Queued]) -> None:
        await self._write(
            partial(deliveries.queued, records=records, state=State.QUEUED, over=State.UNCONFIRMED, now=self._clock.wall())
        )

    async def unconfirmed(self, records: Sequence[Queued]) -> None:
        await self._write(
            partial(deliveries.queued, records=records, state=State.UNCONFIRMED, over=State.QUEUED, now=self._clock.wall())
        )

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        now = self._now()
        return await self._write(lambda c: [deliveries.claim(c, claim, now) for claim in claims])

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        now = self._now()
        return await self._write(lambda c: [deliveries.renew(c, claim, now) for claim in claims])

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        now = self._now()
        return await self._write(lambda c: [deliveries.settle(c, outcome, now) for outcome in outcomes])

    async def progress(self, claim: Claim, progress: str) -> bool:
        return await self._write(lambda c: deliveries.progress(c, claim, progress))

    async def job(self, job_id: str) -> JobRecord | None:
        return self._read(lambda c: deliveries.job(c, job_id))

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        await self._write(partial(dead_letters.insert_all, letters=dead))

    async def dead_letters(
        self, *, queue: str | None = None, job_type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> DeadPage:
        after = dead_letters.parse_cursor(cursor)
        return self._read(lambda c: dead_letters.page(c, queue, job_type, after, limit))

    async def dead_letter(self, dead_id: str) -> DeadLetter | None:
        return self._read(lambda c: dead_letters.one(c, dead_id))

    async def replayed(self, dead_id: str, at: float, replay: int) -> bool:
        return await self._write(lambda c: deliveries.replayed(c, dead_id, at, replay))

    async def drop(self, dead_id: str) -> bool:
        return await self._write(lambda c: c.execute("DELETE FROM dead_letters WHERE dead_id = ?", (dead_id,)).rowcount > 0)

    async def purge(self) -> int:
        now = self._now()
        return await self._write(lambda c: deliveries.purge(c, now.wall - self._retention, now, PURGE_BATCH))

    def _now(self) -> Moment:
        return Moment.of(self._clock)
