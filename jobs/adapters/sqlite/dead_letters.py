"""The table of dead letters."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from jobs.model import Reason
from jobs.ports import DeadLetter, DeadPage, Failure

_COLUMNS = "dead_id, queue, reason, died_at, headers, body, attempts, job_id, job_type, failure, replayed_at"


def insert(c: sqlite3.Connection, letter: DeadLetter) -> None:
    """One that is there already stays as it is."""
    c.execute(
        f"INSERT OR IGNORE INTO dead_letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own names
        (
            letter.dead_id,
            letter.queue,
            letter.reason.value,
            letter.died_at,
            orjson.dumps(letter.headers).decode(),
            letter.body,
            letter.attempts,
            letter.job_id,
            letter.job_type,
            orjson.dumps(letter.failure).decode() if letter.failure else None,
            letter.replayed_at,
        ),
    )


def page(c: sqlite3.Connection, queue: str | None, job_type: str | None, cursor: str | None, limit: int) -> DeadPage:
    """The newest first. The cursor is the time and the id of the last one shown. Raises ValueError for any other text."""
    where, values = ["1 = 1"], list[Any]()
    for column, value in (("queue", queue), ("job_type", job_type)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if cursor is not None:
        died_at, _, dead_id = cursor.partition("~")
        where.append("(died_at, dead_id) < (?, ?)")
        values += [float(died_at), dead_id]
    sql = f"SELECT {_COLUMNS} FROM dead_letters WHERE {' AND '.join(where)} ORDER BY died_at DESC, dead_id DESC LIMIT ?"  # noqa: S608 - our own names
    items = tuple(_letter(row) for row in c.execute(sql, (*values, limit + 1)))
    if len(items) <= limit:
        return DeadPage(items)
    last = items[limit - 1]
    return DeadPage(items[:limit], f"{last.died_at!r}~{last.dead_id}")


def one(c: sqlite3.Connection, dead_id: str) -> DeadLetter | None:
    row = c.execute(f"SELECT {_COLUMNS} FROM dead_letters WHERE dead_id = ?", (dead_id,)).fetchone()  # noqa: S608 - our own names
    return _letter(row) if row else None


def replayed(c: sqlite3.Connection, dead_id: str, at: float) -> bool:
    """Mark it; its delivery, where it is still dead, is queued in the next replay."""
    letter = one(c, dead_id)
    if letter is None:
        return False
    c.execute("UPDATE dead_letters SET replayed_at = ? WHERE dead_id = ?", (at, dead_id))
    c.execute(
        "UPDATE deliveries SET state = 'queued', replay = replay + 1, attempt = 0, ended_at = NULL, failure = NULL, touched_at = ? "
        "WHERE job_id = ? AND queue = ? AND state = 'dead' AND replay = ?",
        (at, letter.job_id, letter.queue, int(letter.headers.get("headrace-replay", "0"))),
    )
    return True


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    dead_id, queue, reason, died_at, headers, body, attempts, job_id, job_type, failure, replayed_at = row
    return DeadLetter(
        dead_id,
        queue,
        Reason(reason),
        died_at,
        orjson.loads(headers),
        body,
        attempts,
        job_id,
        job_type,
        Failure(**orjson.loads(failure)) if failure else None,
        replayed_at,
    )
