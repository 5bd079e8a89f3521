"""The tables of messages and of those who hold them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from adapters.sqlite.liveness import Process
from adapters.sqlite.moment import Moment
from core.model import Reason
from core.ports import Delivery, Depth, Message
from core.topology import dead_queue

Row = tuple[Any, ...]


class Settled(NamedTuple):
    """The ids of held messages, by what becomes of them."""

    acks: list[int]
    backs: list[int]
    rejects: list[int]

    def __bool__(self) -> bool:
        return bool(self.acks or self.backs or self.rejects)


def row(queue: str, message: Message, now: Moment) -> Row:
    """The row of one message in one queue. Raises what orjson raises."""
    due = _due(message.delay, now) if message.delay > 0 else _NOT_DELAYED
    return (queue, message.priority, orjson.dumps(message.headers).decode(), message.body, *due)


def insert(c: sqlite3.Connection, rows: Sequence[Row]) -> None:
    c.executemany(
        "INSERT INTO messages (queue, priority, headers, body, state, visible_at, due_boot, due, delay) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def postpone(c: sqlite3.Connection, number: int, owner: str, after: Row) -> bool:
    """Put the row `after` in the place of a held message. False: it is not held any more."""
    return (
        c.execute(
            "UPDATE messages SET queue = ?, priority = ?, headers = ?, body = ?, state = ?, visible_at = ?, due_boot = ?, due = ?, "
            "delay = ?, owner = NULL, count = 0 WHERE id = ? AND owner = ? AND state = 1",
            (*after, number, owner),
        ).rowcount
        > 0
    )


def any_ready(c: sqlite3.Connection, queue: str, now: Moment) -> bool:
    ready = "SELECT 1 FROM messages WHERE queue = ? AND state = 0 LIMIT 1"
    due = "SELECT 1 FROM messages WHERE state = 2 AND due_boot = ? AND due <= ? LIMIT 1"
    return bool(c.execute(ready, (queue,)).fetchone() or c.execute(due, (now.boot, now.seconds)).fetchone())


def let_in(c: sqlite3.Connection, now: Moment) -> None:
    """Delayed ones that are due become ready."""
    c.execute("UPDATE messages SET state = 0 WHERE state = 2 AND due_boot = ? AND due <= ?", (now.boot, now.seconds))


def measure_anew(c: sqlite3.Connection, now: Moment) -> None:
    """Delayed ones of another boot are due by the wall clock, but no later than their whole delay from now: it may have stepped."""
    c.execute(
        "UPDATE messages SET due_boot = ?, due = ? + min(delay, max(0, visible_at - ?)) "
        "WHERE state = 2 AND (due_boot < ? OR due_boot > ?)",
        (now.boot, now.seconds, now.wall, now.boot, now.boot),
    )


def take(c: sqlite3.Connection, queue: str, owner: str, credit: int, now: Moment) -> list[Row]:
    """headers come as bytes, so that a text that is none is one message's fault."""
    let_in(c, now)
    rows = c.execute(
        "UPDATE messages SET state = 1, owner = ? WHERE id IN "
        "(SELECT id FROM messages WHERE queue = ? AND state = 0 ORDER BY priority DESC, id LIMIT ?) "
        "RETURNING id, count, death, CAST(headers AS BLOB), body, priority",
        (owner, queue, credit),
    ).fetchall()
    rows.sort(key=lambda r: (-r[5], r[0]))  # RETURNING keeps no order
    return rows


def delivery(queue: str, taken: Row) -> Delivery:
    """Unreadable parts of a row are left out: the runtime then buries it, with its bytes."""
    number, count, death, headers, body = taken[:5]
    return Delivery(queue, _headers(headers), body, count, _reason(death), number)


def settle(c: sqlite3.Connection, owner: str, settled: Settled, limit: int) -> None:
    """Messages that `owner` does not hold any more stay unchanged."""
    c.executemany("DELETE FROM messages WHERE id = ? AND owner = ?", [(i, owner) for i in settled.acks])
    ours = "SELECT queue FROM messages WHERE id = ? AND owner = ?"
    free(c, [i for i in settled.backs if c.execute(ours, (i, owner)).fetchone()], limit)
    for i in settled.rejects:
        if found := c.execute(ours, (i, owner)).fetchone():
            update = "UPDATE messages SET state = 0, owner = NULL, queue = ?, death = ?, count = 0 WHERE id = ?"
            c.execute(update, (dead_queue(found[0]), Reason.REJECTED.value, i))


def free(c: sqlite3.Connection, numbers: Sequence[int], limit: int) -> None:
    """Make held messages ready again; those that were handed out more than `limit` times go to the dead-letter queue."""
    c.executemany("UPDATE messages SET state = 0, owner = NULL, count = count + 1 WHERE id = ?", [(i,) for i in numbers])
    c.executemany(
        "UPDATE messages SET queue = queue || '.dead', death = ?, count = 0 WHERE id = ? AND count > ? AND queue NOT LIKE '%.dead'",
        [(Reason.DELIVERY_LIMIT.value, i, limit) for i in numbers],
    )


def reclaim(c: sqlite3.Connection, owner: str, known: set[int], limit: int) -> None:
    """Free what `owner` holds without knowing it: a take was committed, and its answer was lost."""
    free(c, [i for i in _held_by(c, owner) if i not in known], limit)


def appear(c: sqlite3.Connection, owner: str, process: Process, beat: float) -> None:
    """Show that `owner` lives. Another process that sees the figure change knows it."""
    c.execute("INSERT OR REPLACE INTO owners (owner, host, pid, born, beat) VALUES (?, ?, ?, ?, ?)", (owner, *process, beat))


def ensure(c: sqlite3.Connection, owner: str, process: Process) -> None:
    """Register the owner that takes, in the same transaction: messages that no registered owner holds are freed."""
    c.execute("INSERT OR IGNORE INTO owners (owner, host, pid, born, beat) VALUES (?, ?, ?, ?, 0)", (owner, *process))


def owners(c: sqlite3.Connection) -> list[tuple[str, Process, float]]:
    found = c.execute("SELECT owner, host, pid, born, beat FROM owners")
    return [(owner, Process(host, pid, born), beat) for owner, host, pid, born, beat in found]


def forget(c: sqlite3.Connection, owner: str, limit: int) -> None:
    """Free all that `owner` holds, and the name itself."""
    free(c, _held_by(c, owner), limit)
    c.execute("DELETE FROM owners WHERE owner = ?", (owner,))


def free_orphans(c: sqlite3.Connection, limit: int) -> None:
    """Free messages that are held by a name without an owner."""
    orphans = "SELECT id FROM messages WHERE state = 1 AND (owner IS NULL OR owner NOT IN (SELECT owner FROM owners))"
    free(c, [i for (i,) in c.execute(orphans).fetchall()], limit)


def depth(c: sqlite3.Connection, queue: str) -> Depth:
    """Counted over the partial indexes: about 15 ms for a million ready messages."""
    counted = "SELECT count(*) FROM messages WHERE state = %d AND queue = ?"  # a figure, or no partial index fits
    ready, unacked, delayed = (int(c.execute(counted % state, (queue,)).fetchone()[0]) for state in (0, 1, 2))
    return Depth(ready=ready, unacked=unacked, delayed=delayed)


def _held_by(c: sqlite3.Connection, owner: str) -> list[int]:
    return [i for (i,) in c.execute("SELECT id FROM messages WHERE owner = ? AND state = 1", (owner,)).fetchall()]


# state, visible_at, due_boot, due, delay
_NOT_DELAYED = (0, 0.0, "", 0.0, 0.0)


def _due(delay: float, now: Moment) -> tuple[int, float, str, float, float]:
    return (2, now.wall + delay, now.boot, now.seconds + delay, delay)


def _headers(text: bytes) -> dict[str, str]:
    try:
        headers = orjson.loads(text)
    except ValueError:
        return {}
    return {k: v for k, v in headers.items() if isinstance(v, str)} if isinstance(headers, dict) else {}


def _reason(death: str | None) -> Reason | None:
    try:
        return Reason(death) if death else None
    except ValueError:  # of a later release
        return Reason.REJECTED
