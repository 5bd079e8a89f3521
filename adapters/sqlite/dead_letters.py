"""The table of dead letters."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from core import cursors
from core.model import Reason
from core.ports import DeadLetter, DeadPage, Failure

_COLUMNS = "dead_id, queue, reason, died_at, headers, body, attempts, job_id, job_type, failure, replayed_at"
_ANEW = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[1:])


def insert(c: sqlite3.Connection, letter: DeadLetter) -> None:
    """One that is there already stays as it is, unless it was replayed: then the letter has died again."""
    c.execute(
        f"INSERT INTO dead_letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - our own names
        f"ON CONFLICT DO UPDATE SET {_ANEW} WHERE replayed_at < excluded.died_at",
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
            failure_text(letter.failure),
            letter.replayed_at,
        ),
    )


def insert_all(c: sqlite3.Connection, letters: Sequence[DeadLetter]) -> None:
    for letter in letters:
        insert(c, letter)


def failure_text(failure: Failure | None) -> str | None:
    return orjson.dumps(failure).decode() if failure else None


def parse_cursor(cursor: str | None) -> tuple[float, str] | None:
    """The time and the id of the last letter shown. Raises ValueError for a text that no page gave."""
    if cursor is None:
        return None
    died_at, dead_id = cursors.parsed(cursor)
    return float(died_at), dead_id


def page(c: sqlite3.Connection, queue: str | None, job_type: str | None, after: tuple[float, str] | None, limit: int) -> DeadPage:
    """The newest first."""
    where, values = ["1 = 1"], list[Any]()
    for column, value in (("queue", queue), ("job_type", job_type)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if after is not None:
        where.append("(died_at, dead_id) < (?, ?)")
        values += after
    sql = f"SELECT {_COLUMNS} FROM dead_letters WHERE {' AND '.join(where)} ORDER BY died_at DESC, dead_id DESC LIMIT ?"  # noqa: S608 - our own names
    items = tuple(_letter(row) for row in c.execute(sql, (*values, limit + 1)))
    if len(items) <= limit:
        return DeadPage(items)
    last = items[limit - 1]
    return DeadPage(items[:limit], f"{last.died_at!r}~{last.dead_id}")


def one(c: sqlite3.Connection, dead_id: str) -> DeadLetter | None:
    row = c.execute(f"SELECT {_COLUMNS} FROM dead_letters WHERE dead_id = ?", (dead_id,)).fetchone()  # noqa: S608 - our own names
    return _letter(row) if row else None


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
