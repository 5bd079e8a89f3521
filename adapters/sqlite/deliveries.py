"""The table of deliveries: claims and outcomes. The rules are those of `core/claims.py`; here is only how they are stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from adapters.sqlite import dead_letters, liveness
from adapters.sqlite.moment import Moment
from core.claims import Stored, accepts, judge
from core.model import State
from core.ports import Answer, Claim, DeliveryRecord, Failure, JobRecord, Outcome, Queued, Verdict


def queued(c: sqlite3.Connection, records: Sequence[Queued], state: State, over: State, now: float) -> None:
    """Insert what is not there; of what is, only `over` becomes `state`."""
    c.executemany("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?)", [(r.job_id, r.job_type, r.accepted_at) for r in records])
    c.executemany(
        "INSERT INTO deliveries (job_id, queue, state, touched_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET state = excluded.state WHERE state = ?",
        [(r.job_id, queue, state.value, now, over.value) for r in records for queue in r.queues],
    )


def claim(c: sqlite3.Connection, asked: Claim, now: Moment) -> Answer:
    stored = stored_of(c, asked, now)
    answer = judge(stored, asked, now.seconds)
    if answer.verdict is Verdict.HELD and stored is not None and _owner_is_dead(c, asked):
        answer = judge(stored._replace(lease_until=0.0), asked, now.seconds)
    if answer.verdict.ours:
        _run(c, asked, now, new=stored is None, started_at=now.wall, crashed=answer.verdict is Verdict.CRASHED)
    return answer


def renew(c: sqlite3.Connection, held: Claim, now: Moment) -> bool:
    # The usual case, in one command: `accepts` says yes to the holder of the claim. A token is one claim's.
    if c.execute(_RENEW, (now.boot, now.seconds + held.lease, now.wall, held.job_id, held.queue, held.token)).rowcount:
        return True
    stored = stored_of(c, held, now)
    if accepted := accepts(stored, held, State.RUNNING):
        _run(c, held, now, new=stored is None)
    return accepted


def settle(c: sqlite3.Connection, o: Outcome, now: Moment) -> bool:
    command, values = _ending(o, now)
    # The usual case, as above.
    if not c.execute(command, values).rowcount:
        stored = stored_of(c, o.claim, now)
        if not accepts(stored, o.claim, o.state):
            return False
        _run(c, o.claim, now, new=stored is None)
        c.execute(command, values)
    if o.dead is not None:
        dead_letters.insert(c, o.dead)
    return True


_HELD = "WHERE job_id = ? AND queue = ? AND token = ? AND state = 'running'"
_RENEW = f"UPDATE deliveries SET lease_boot = ?, lease_until = ?, touched_at = ? {_HELD}"  # noqa: S608 - our own words
# The token stays, so that the same outcome sent again is accepted again; another one after it is not.
_OUTCOME = "UPDATE deliveries SET state = ?, ended_at = ?, result = ?, failure = ?, touched_at = ?"
_END = f"{_OUTCOME} {_HELD}"
_RETRY = f"{_OUTCOME}, next_at = ?, lease_boot = ?, lease_until = ? {_HELD}"


def _ending(o: Outcome, now: Moment) -> tuple[str, tuple[Any, ...]]:
    """The command that ends a claim that is held, and its values. A delivery that has ended for good needs no lease."""
    ended_at = o.at if o.state is not State.QUEUED else None
    failure = dead_letters.failure_text(o.failure) if o.failure else None
    values = (o.state.value, ended_at, o.result, failure, now.wall)
    held = (o.claim.job_id, o.claim.queue, o.claim.token)
    if o.state is not State.RETRYING:
        return _END, (*values, *held)
    return _RETRY, (*values, o.next_at, now.boot, now.seconds + o.delay, *held)


def progress(c: sqlite3.Connection, held: Claim, text: str) -> bool:
    update = "UPDATE deliveries SET progress = ? WHERE job_id = ? AND queue = ? AND token = ? AND state = 'running'"
    return c.execute(update, (text, held.job_id, held.queue, held.token)).rowcount > 0


def replayed(c: sqlite3.Connection, dead_id: str, at: float, replay: int) -> bool:
    """Mark a dead letter; its delivery, where it is dead in an older replay, is queued in `replay`."""
    job = c.execute("UPDATE dead_letters SET replayed_at = ? WHERE dead_id = ? RETURNING job_id, queue", (at, dead_id)).fetchone()
    if job is None:
        return False
    c.execute(
        "UPDATE deliveries SET state = 'queued', replay = ?, attempt = 0, ended_at = NULL, failure = NULL, touched_at = ? "
        "WHERE job_id = ? AND queue = ? AND state = 'dead' AND replay < ?",
        (replay, at, *job, replay),
    )
    return True


def job(c: sqlite3.Connection, job_id: str) -> JobRecord | None:
    found = c.execute("SELECT job_id, job_type, accepted_at FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    if found is None:
        return None
    rows = c.execute(
        "SELECT queue, state, attempt, replay, started_at, ended_at, next_at, result, failure, progress "
        "FROM deliveries WHERE job_id = ? ORDER BY queue",
        (job_id,),
    )
    return JobRecord(found[0], found[1], found[2], tuple(_record(row) for row in rows))


def purge(c: sqlite3.Connection, before: float, now: Moment, most: int) -> int:
    """Deliveries by age, and the jobs that have none left. A running one is touched by each renewal, and a step of the wall clock
    must not purge it before the next one; a retry may be due later than a retention from now."""
    old = c.execute(
        "SELECT job_id, queue FROM deliveries WHERE touched_at < ? "
        "AND NOT (state IN ('running', 'retrying') AND lease_boot = ? AND lease_until > ?) LIMIT ?",
        (before, now.boot, now.seconds, most),
    ).fetchall()
    c.executemany("DELETE FROM deliveries WHERE job_id = ? AND queue = ?", old)
    c.executemany(
        "DELETE FROM jobs WHERE job_id = ? AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = jobs.job_id)",
        [(job,) for job, _ in old],
    )
    return len(old)


def stored_of(c: sqlite3.Connection, of: Claim, now: Moment) -> Stored | None:
    row = c.execute(
        "SELECT state, replay, attempt, token, crashed, lease_boot, lease_until, next_at, ended_at FROM deliveries "
        "WHERE job_id = ? AND queue = ?",
        (of.job_id, of.queue),
    ).fetchone()
    if row is None:
        return None
    state, replay, attempt, token, crashed, boot, until, next_at, ended_at = row
    if boot == now.boot:
        return Stored(State(state), replay, attempt, token, until, until, bool(crashed))
    # Of another boot: a lease is over, and a retry is due by the wall clock, but no later than its whole delay from now.
    waits = min(next_at - now.wall, next_at - (ended_at or next_at)) if next_at else 0.0
    return Stored(State(state), replay, attempt, token, 0.0, now.seconds + waits, bool(crashed))


def _owner_is_dead(c: sqlite3.Connection, of: Claim) -> bool:
    """Asked for a conflict alone: it reads files."""
    (text,) = c.execute("SELECT lease_owner FROM deliveries WHERE job_id = ? AND queue = ?", (of.job_id, of.queue)).fetchone()
    return liveness.known_dead(text)


def _run(
    c: sqlite3.Connection, asked: Claim, now: Moment, *, new: bool, started_at: float | None = None, crashed: bool = False
) -> None:
    """Record the claim as running. new: nothing is known of the delivery. started_at: None: it began before."""
    lease = (now.boot, now.seconds + asked.lease, liveness.mark())
    values = (asked.replay, asked.attempt, asked.token, crashed, *lease, started_at, now.wall, asked.job_id, asked.queue)
    if new:
        _job_of(c, asked)
        c.execute(
            "INSERT INTO deliveries (state, replay, attempt, token, crashed, lease_boot, lease_until, lease_owner, started_at, "
            "touched_at, job_id, queue) VALUES ('running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
    else:
        c.execute(
            "UPDATE deliveries SET state = 'running', replay = ?, attempt = ?, token = ?, crashed = ?, lease_boot = ?, "
            "lease_until = ?, lease_owner = ?, started_at = coalesce(?, started_at), touched_at = ?, ended_at = NULL, "
            "next_at = NULL WHERE job_id = ? AND queue = ?",
            values,
        )


def _job_of(c: sqlite3.Connection, of: Claim) -> None:
    c.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?)", (of.job_id, of.job_type, of.accepted_at))


def _record(row: tuple[Any, ...]) -> DeliveryRecord:
    queue, state, attempt, replay, started, ended, next_at, result, failure, progress = row
    why = Failure(**orjson.loads(failure)) if failure else None
    return DeliveryRecord(queue, State(state), attempt, replay, started, ended, next_at, result, why, progress)
