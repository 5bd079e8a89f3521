"""A consumer's hold on one queue of an SQLite file."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import orjson

from jobs.adapters.sqlite.database import DatabaseUnavailable
from jobs.errors import BrokerUnavailable
from jobs.model import Reason
from jobs.ports import Delivery, Message
from jobs.topology import dead_queue

if TYPE_CHECKING:
    from jobs.adapters.sqlite.broker import SqliteBroker

# Without any sign of a commit we look for due messages so often; it bounds how late a delayed message is.
LOOK = 0.25
MOST_AT_ONCE = 500

Row = tuple[int, int, str | None, str, bytes, int]


class SqliteSubscription:
    """Takes up to `prefetch` messages at a time, and gathers what is settled in one turn of the loop into one write."""

    def __init__(self, broker: SqliteBroker, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> None:
        self._broker = broker
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._held: set[int] = set()
        self._acks: list[int] = []
        self._backs: list[int] = []
        self._rejects: list[int] = []
        self._scheduled = False
        self._flushing = False
        self._paused = True
        self._closed = False
        self._look = asyncio.Event()
        broker.database.listeners.add(self._look.set)
        self._task = asyncio.get_running_loop().create_task(self._take_forever())

    @property
    def active(self) -> bool:
        return not self._paused and not self._closed and self._broker.unready() is None

    def ack(self, delivery: Delivery) -> None:
        self._settle(delivery, self._acks)

    def hand_back(self, delivery: Delivery) -> None:
        self._settle(delivery, self._backs)

    def reject(self, delivery: Delivery) -> None:
        self._settle(delivery, self._rejects)

    async def postpone(self, delivery: Delivery, message: Message) -> None:
        if delivery.tag not in self._held:
            return
        due = self._broker.clock.wall() + message.delay
        headers, owner = orjson.dumps(message.headers).decode(), self._broker.owner
        try:
            await self._broker.database.write(lambda c: _postpone(c, delivery.tag, owner, headers, due))
        except DatabaseUnavailable as error:
            raise BrokerUnavailable(str(error)) from None
        self._held.discard(delivery.tag)
        self._look.set()

    async def pause(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        self._paused = False
        self._look.set()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._broker.database.listeners.discard(self._look.set)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._backs += self._held
        self._held.clear()
        await self._flush()

    async def _take_forever(self) -> None:
        while True:
            credit = self._prefetch - len(self._held)
            taken = 0
            if credit > 0 and not self._paused and self._broker.unready() is None:
                taken = await self._take(min(credit, MOST_AT_ONCE))
            if not taken:
                self._look.clear()
                try:
                    async with asyncio.timeout(LOOK):
                        await self._look.wait()
                except TimeoutError:
                    continue

    async def _take(self, credit: int) -> int:
        now, owner = self._broker.clock.wall(), self._broker.owner
        try:
            if not self._broker.database.read(lambda c: _any(c, self._queue, now)):
                return 0
            rows = await asyncio.shield(writing := self._broker.database.write(lambda c: _take(c, self._queue, owner, credit, now)))
        except DatabaseUnavailable:
            await asyncio.sleep(random.uniform(0.05, 0.15))
            return 0
        except asyncio.CancelledError:
            # Closed while taking: what comes is ours, and goes back with the rest.
            self._backs += [row[0] for row in await writing]
            raise
        for row in rows:
            self._held.add(row[0])
            self._deliver(_delivery(self._queue, row))
        return len(rows)

    def _settle(self, delivery: Delivery, into: list[int]) -> None:
        if delivery.tag not in self._held:
            return
        self._held.discard(delivery.tag)
        into.append(delivery.tag)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start_flush)

    def _start_flush(self) -> None:
        if self._flushing:
            return  # the running flush takes these with its next round
        self._flushing = True
        self._flush_task = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        """Write what was settled; what cannot be written is kept and tried again, or the rows would be held for ever."""
        try:
            while self._acks or self._backs or self._rejects:
                self._scheduled = False
                acks, backs, rejects = self._acks, self._backs, self._rejects
                self._acks, self._backs, self._rejects = [], [], []
                work = partial(_settle, owner=self._broker.owner, limit=self._broker.limit, acks=acks, backs=backs, rejects=rejects)
                try:
                    await self._broker.database.write(work)
                except DatabaseUnavailable:
                    if self._closed:
                        return  # our owner's name ends with us, and with it our hold
                    self._acks += acks
                    self._backs += backs
                    self._rejects += rejects
                    await asyncio.sleep(random.uniform(0.05, 0.15))
                self._look.set()
        finally:
            self._flushing = False
            self._scheduled = False


def _any(connection: sqlite3.Connection, queue: str, now: float) -> bool:
    ready = "SELECT 1 FROM messages WHERE queue = ? AND state = 0 LIMIT 1"
    due = "SELECT 1 FROM messages WHERE state = 2 AND visible_at <= ? LIMIT 1"
    return bool(connection.execute(ready, (queue,)).fetchone() or connection.execute(due, (now,)).fetchone())


def _take(connection: sqlite3.Connection, queue: str, owner: str, credit: int, now: float) -> list[Row]:
    connection.execute("UPDATE messages SET state = 0 WHERE state = 2 AND visible_at <= ?", (now,))
    rows: list[Row] = connection.execute(
        "UPDATE messages SET state = 1, owner = ? WHERE id IN "
        "(SELECT id FROM messages WHERE queue = ? AND state = 0 ORDER BY priority DESC, id LIMIT ?) "
        "RETURNING id, count, death, headers, body, priority",
        (owner, queue, credit),
    ).fetchall()
    rows.sort(key=lambda r: (-r[5], r[0]))  # RETURNING keeps no order
    return rows


def free(connection: sqlite3.Connection, ids: Sequence[int], limit: int) -> None:
    """Make held messages ready again; what was handed out more than `limit` times goes to the dead-letter queue."""
    connection.executemany("UPDATE messages SET state = 0, owner = NULL, count = count + 1 WHERE id = ?", [(i,) for i in ids])
    connection.executemany(
        "UPDATE messages SET queue = queue || '.dead', death = ?, count = 0 WHERE id = ? AND count > ? AND queue NOT LIKE '%.dead'",
        [(Reason.DELIVERY_LIMIT.value, i, limit) for i in ids],
    )


def _settle(connection: sqlite3.Connection, owner: str, limit: int, acks: list[int], backs: list[int], rejects: list[int]) -> None:
    connection.executemany("DELETE FROM messages WHERE id = ? AND owner = ?", [(i, owner) for i in acks])
    ours = "SELECT 1 FROM messages WHERE id = ? AND owner = ?"
    free(connection, [i for i in backs if connection.execute(ours, (i, owner)).fetchone()], limit)
    connection.executemany(
        "UPDATE messages SET state = 0, owner = NULL, queue = ?, death = ?, count = 0 WHERE id = ? AND owner = ?",
        [(dead_queue(_queue_of(connection, i)), Reason.REJECTED.value, i, owner) for i in rejects],
    )


def _queue_of(connection: sqlite3.Connection, message: int) -> str:
    found = connection.execute("SELECT queue FROM messages WHERE id = ?", (message,)).fetchone()
    return str(found[0]) if found else ""


def _postpone(connection: sqlite3.Connection, message: int, owner: str, headers: str, due: float) -> None:
    connection.execute(
        "UPDATE messages SET state = 2, owner = NULL, headers = ?, visible_at = ?, count = 0 WHERE id = ? AND owner = ?",
        (headers, due, message, owner),
    )


def _delivery(queue: str, row: Row) -> Delivery:
    number, count, death, headers, body = row[:5]
    return Delivery(queue, orjson.loads(headers), body, count, Reason(death) if death else None, number)
