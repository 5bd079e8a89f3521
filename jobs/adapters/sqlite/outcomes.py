"""Outcomes and claims in an SQLite file: the OutcomeStore port for one machine. `dead_letters.py` has its other half."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import orjson

from jobs.adapters.sqlite import dead_letters
from jobs.adapters.sqlite.database import Database, DatabaseUnavailable, Work
from jobs.claims import Stored, judge
from jobs.clock import Clock
from jobs.errors import SettingsError, StoreUnavailable
from jobs.model import State
from jobs.ports import Answer, Claim, DeadLetter, DeadPage, DeliveryRecord, Failure, JobRecord, Outcome, Queued, Verdict
from jobs.settings import Settings

Result = TypeVar("Result")

# One purge holds the write lock for some 10 ms.
PURGE_BATCH = 500


class SqliteOutcomes:
    """Every method is one transaction."""

    def __init__(self, path: str, settings: Settings, clock: Clock) -> None:
        self._database = Database.at(path, settings.store_timeout)
        self._clock = clock
        self._retention = settings.retention
        self._opened = False

    async def open(self) -> None:
        if self._opened:
            return
        try:
            await self._database.open()
        except (DatabaseUnavailable, SettingsError) as error:
            raise StoreUnavailable(str(error)) from None
        self._opened = True

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await self._database.close()

    async def ping(self) -> None:
        await self.open()
        self._read(lambda c: c.execute("SELECT 1").fetchone())

    async def queued(self, records: Sequence[Queued]) -> None:
        await self._write(partial(_queued, records=records, state=State.QUEUED, over=State.UNCONFIRMED, now=self._clock.wall()))

    async def unconfirmed(self, records: Sequence[Queued]) -> None:
        await self._write(partial(_queued, records=records, state=State.UNCONFIRMED, over=State.QUEUED, now=self._clock.wall()))

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        now = self._clock.wall()
        return await self._write(lambda c: [_claim(c, claim, now) for claim in claims])

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        now = self._clock.wall()
        return await self._write(lambda c: [_renew(c, claim, now) for claim in claims])

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        return await self._write(lambda c: [_settle(c, outcome) for outcome in outcomes])

    async def progress(self, claim: Claim, progress: str) -> bool:
        update = "UPDATE deliveries SET progress = ? WHERE job_id = ? AND queue = ? AND token = ?"
        found = await self._write(lambda c: c.execute(update, (progress, claim.job_id, claim.queue, claim.token)).rowcount)
        return found > 0

    async def job(self, job_id: str) -> JobRecord | None:
        return self._read(lambda c: _job(c, job_id))

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        now = self._clock.wall()
        await self._write(partial(_bury_all, dead=dead, now=now))

    async def dead_letters(
        self, *, queue: str | None = None, job_type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> DeadPage:
        return self._read(lambda c: dead_letters.page(c, queue, job_type, cursor, limit))

    async def dead_letter(self, dead_id: str) -> DeadLetter | None:
        return self._read(lambda c: dead_letters.one(c, dead_id))

    async def replayed(self, dead_id: str, at: float) -> bool:
        return await self._write(lambda c: dead_letters.replayed(c, dead_id, at))

    async def drop(self, dead_id: str) -> bool:
        return await self._write(lambda c: c.execute("DELETE FROM dead_letters WHERE dead_id = ?", (dead_id,)).rowcount > 0)

    async def purge(self) -> int:
        before = self._clock.wall() - self._retention
        return await self._write(lambda c: _purge(c, before))

    async def _write(self, work: Work[Result]) -> Result:
        try:
            return await self._database.write(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from None

    def _read(self, work: Work[Result]) -> Result:
        try:
            return self._database.read(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from None


def _queued(c: sqlite3.Connection, records: Sequence[Queued], state: State, over: State, now: float) -> None:
    """Insert what is not there; of what is, only `over` becomes `state`."""
    c.executemany("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?)", [(r.job_id, r.job_type, r.accepted_at) for r in records])
    c.executemany(
        "INSERT INTO deliveries (job_id, queue, state, touched_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET state = excluded.state WHERE state = ?",
        [(r.job_id, queue, state.value, now, over.value) for r in records for queue in r.queues],
    )


def _stored(c: sqlite3.Connection, job_id: str, queue: str) -> Stored | None:
    row = c.execute(
        "SELECT state, replay, attempt, token, lease_until, next_at FROM deliveries WHERE job_id = ? AND queue = ?", (job_id, queue)
    ).fetchone()
    return row and Stored(State(row[0]), row[1], row[2], row[3], row[4], row[5] or 0.0)


def _claim(c: sqlite3.Connection, claim: Claim, now: float) -> Answer:
    answer = judge(_stored(c, claim.job_id, claim.queue), claim, now)
    if answer.verdict is Verdict.GRANTED:
        c.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?)", (claim.job_id, claim.job_type, claim.accepted_at))
        c.execute(
            "INSERT INTO deliveries (job_id, queue, state, replay, attempt, token, lease_until, started_at, touched_at) "
            "VALUES (?, ?, 'running', ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = 'running', replay = excluded.replay, "
            "attempt = excluded.attempt, token = excluded.token, lease_until = excluded.lease_until, "
            "started_at = excluded.started_at, ended_at = NULL, next_at = NULL, touched_at = excluded.touched_at",
            (claim.job_id, claim.queue, claim.replay, claim.attempt, claim.token, now + claim.lease, now, now),
        )
    return answer


def _renew(c: sqlite3.Connection, claim: Claim, now: float) -> bool:
    update = "UPDATE deliveries SET lease_until = ? WHERE job_id = ? AND queue = ? AND token = ? AND state = 'running'"
    return c.execute(update, (now + claim.lease, claim.job_id, claim.queue, claim.token)).rowcount > 0


def _settle(c: sqlite3.Connection, o: Outcome) -> bool:
    # The token stays, so that the same outcome sent again is accepted again; another one after it is not.
    update = (
        "UPDATE deliveries SET state = ?, ended_at = ?, next_at = ?, result = ?, failure = ?, lease_until = 0, touched_at = ? "
        "WHERE job_id = ? AND queue = ? AND token = ? AND state IN ('running', ?)"
    )
    failure = orjson.dumps(o.failure).decode() if o.failure else None
    ended = o.at if o.state is not State.QUEUED else None
    if not c.execute(
        update, (o.state.value, ended, o.next_at, o.result, failure, o.at, o.job_id, o.queue, o.token, o.state.value)
    ).rowcount:
        return False
    if o.dead is not None:
        dead_letters.insert(c, o.dead)
    return True


def _bury_all(c: sqlite3.Connection, dead: Sequence[DeadLetter], now: float) -> None:
    for letter in dead:
        _bury(c, letter, now)


def _bury(c: sqlite3.Connection, letter: DeadLetter, now: float) -> None:
    dead_letters.insert(c, letter)
    if letter.job_id is None or letter.job_type is None:
        return
    c.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?)", (letter.job_id, letter.job_type, letter.died_at))
    c.execute(
        "INSERT INTO deliveries (job_id, queue, state, attempt, ended_at, failure, touched_at) VALUES (?, ?, 'dead', ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET state = 'dead', ended_at = excluded.ended_at, failure = excluded.failure, "
        "touched_at = excluded.touched_at WHERE state NOT IN ('succeeded', 'dead', 'cancelled') "
        "AND NOT (state = 'running' AND lease_until > ?)",
        (
            letter.job_id,
            letter.queue,
            letter.attempts,
            letter.died_at,
            orjson.dumps(letter.failure).decode() if letter.failure else None,
            now,
            now,
        ),
    )


def _job(c: sqlite3.Connection, job_id: str) -> JobRecord | None:
    job = c.execute("SELECT job_id, job_type, accepted_at FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    if job is None:
        return None
    rows = c.execute(
        "SELECT queue, state, attempt, replay, started_at, ended_at, next_at, result, failure, progress "
        "FROM deliveries WHERE job_id = ? ORDER BY queue",
        (job_id,),
    )
    return JobRecord(job[0], job[1], job[2], tuple(_record(row) for row in rows))


def _record(row: tuple[Any, ...]) -> DeliveryRecord:
    queue, state, attempt, replay, started, ended, next_at, result, failure, progress = row
    return DeliveryRecord(
        queue,
        State(state),
        attempt,
        replay,
        started,
        ended,
        next_at,
        result,
        Failure(**orjson.loads(failure)) if failure else None,
        progress,
    )


def _purge(c: sqlite3.Connection, before: float) -> int:
    """Deliveries by age, and the jobs that have none left. What is running or waits for its retry is younger by itself."""
    old = c.execute("SELECT job_id, queue FROM deliveries WHERE touched_at < ? LIMIT ?", (before, PURGE_BATCH)).fetchall()
    c.executemany("DELETE FROM deliveries WHERE job_id = ? AND queue = ?", old)
    c.executemany(
        "DELETE FROM jobs WHERE job_id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job_id = ?1)", [(job,) for job, _ in old]
    )
    return len(old)
