"""The controller's journal in an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from adapters.journal_text import from_text, to_text
from adapters.sqlite.store import SqliteStore
from core.clock import Clock
from core.journal import ScalingRecord
from core.settings import Settings
from telemetry.supervisor import Supervisor


class SqliteJournal(SqliteStore):
    """A row a record; rows over the cap go with each append. A file that could not be opened is tried again by each call."""

    def __init__(self, path: str, settings: Settings, clock: Clock, supervisor: Supervisor | None = None) -> None:
        super().__init__(path, settings, clock, supervisor)
        self._most, self._age = settings.journal_records, settings.journal_age

    async def append(self, records: Sequence[ScalingRecord]) -> None:
        await self.open()
        oldest = self._clock.wall() - self._age
        await self._write(lambda c: _append(c, records, self._most, oldest))

    async def latest(self) -> list[ScalingRecord]:
        await self.open()
        newest = "SELECT record FROM journal WHERE id IN (SELECT max(id) FROM journal GROUP BY queue) ORDER BY queue"
        return self._read(lambda c: [from_text(text) for (text,) in c.execute(newest)])

    async def tail(self, queue: str, limit: int) -> list[ScalingRecord]:
        await self.open()
        newest = "SELECT record FROM journal WHERE queue = ? ORDER BY id DESC LIMIT ?"
        return self._read(lambda c: [from_text(text) for (text,) in c.execute(newest, (queue, limit))][::-1])

    async def remember(self, states: dict[str, str]) -> None:
        await self.open()
        rows = [(queue, state, self._clock.wall()) for queue, state in states.items()]
        await self._write(lambda c: c.executemany("INSERT OR REPLACE INTO controller_states VALUES (?, ?, ?)", rows))

    async def recall(self, queue: str) -> tuple[str, float] | None:
        await self.open()
        kept = "SELECT state, at FROM controller_states WHERE queue = ?"
        row = self._read(lambda c: c.execute(kept, (queue,)).fetchone())
        return (row[0], max(0.0, self._clock.wall() - row[1])) if row else None


def _append(c: sqlite3.Connection, records: Sequence[ScalingRecord], most: int, oldest: float) -> None:
    c.executemany("INSERT INTO journal (queue, at, record) VALUES (?, ?, ?)", [(r.queue, r.at, to_text(r)) for r in records])
    last = "SELECT id FROM journal WHERE queue = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
    over = f"DELETE FROM journal WHERE queue = ? AND id <= ({last})"  # noqa: S608 - our own words
    old = "DELETE FROM journal WHERE queue = ? AND at < ?"
    for queue in {record.queue for record in records}:
        c.execute(over, (queue, queue, most))
        c.execute(old, (queue, oldest))
