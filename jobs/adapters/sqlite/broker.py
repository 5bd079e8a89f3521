"""Queues in an SQLite file: the Broker port for one machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from jobs.adapters.sqlite.database import Database, DatabaseUnavailable
from jobs.adapters.sqlite.subscription import SqliteSubscription, free
from jobs.clock import Clock
from jobs.errors import BrokerUnavailable, PublishTimeout, SettingsError, Unroutable
from jobs.ports import Delivery, Depth, Message
from jobs.settings import Settings
from jobs.topology import Topology, dead_queue

# An owner shows every second that it lives. On the same host a dead one is seen by its pid at once; elsewhere by this silence.
BEAT, SILENCE = 1.0, 30.0


class SqliteBroker:
    """One row a message and queue; what an owner holds is marked with its name."""

    def __init__(self, path: str, topology: Topology, settings: Settings, clock: Clock) -> None:
        self.database = Database.at(path, settings.store_timeout)
        self.owner = uuid.uuid4().hex
        self.clock = clock
        self.limit = settings.delivery_limit
        self._topology = topology
        self._queues = {q for queue in topology.queues for q in (queue, dead_queue(queue))}
        self._timeout = settings.publish_timeout
        self._broken: str | None = "not open"
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        await self._try_open()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._broken is None:
            with contextlib.suppress(DatabaseUnavailable):
                await self.database.write(lambda c: forget_owner(c, self.owner, self.limit))
            await self.database.close()
        self._broken = "closed"

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = [loop.create_future() for _ in window]
        rows, waiting, now = [], [], self.clock.wall()
        for message, future in zip(window, futures, strict=True):
            queues = self._queues_of(message)
            if not queues:
                future.set_exception(Unroutable(f"no queue is bound for job type {message.job_type!r}"))
                continue
            waiting.append(future)
            rows += [row(queue, message, now) for queue in queues]
        if waiting:
            timer = loop.call_later(self._timeout, _give_up, waiting, self._timeout)
            written = self.database.write(lambda c: insert(c, rows))
            written.add_done_callback(lambda done: _confirm(done, waiting, timer))
        return futures

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> SqliteSubscription:
        return SqliteSubscription(self, queue, prefetch, deliver)

    async def depth(self, queue: str) -> Depth:
        """Counted over the partial indexes: about 15 ms for a million ready messages, so in the writer's thread."""
        try:
            return await self.database.write(lambda c: _depth(c, queue))
        except DatabaseUnavailable as error:
            raise BrokerUnavailable(str(error)) from None

    def unready(self) -> str | None:
        return self._broken

    async def advice(self) -> list[str]:
        """Nothing: the file is ours alone."""
        return []

    def _queues_of(self, message: Message) -> tuple[str, ...]:
        if message.queue is None:
            return self._topology.bindings.get(message.job_type, ())
        return (message.queue,) if message.queue in self._queues else ()

    async def _try_open(self) -> None:
        try:
            await self.database.open()
        except (DatabaseUnavailable, SettingsError) as error:
            self._broken = str(error)
            return
        self._broken = None
        await self._beat()

    async def _keep(self) -> None:
        """Every second: open what could not be opened, show that we live, free what the dead held, let delayed ones in."""
        while True:
            await asyncio.sleep(BEAT)
            if self._broken is not None:
                await self._try_open()
            else:
                await self._beat()

    async def _beat(self) -> None:
        now, me = self.clock.wall(), (self.owner, _host(), os.getpid(), _born(os.getpid()))
        with contextlib.suppress(DatabaseUnavailable):  # the next beat does it
            await self.database.write(lambda c: _beat(c, me, now, self.limit))


def row(queue: str, message: Message, now: float) -> tuple[object, ...]:
    """The row of one message in one queue."""
    delayed = message.delay > 0
    headers = orjson.dumps(message.headers).decode()
    return (queue, 2 if delayed else 0, message.priority, now + message.delay if delayed else 0.0, headers, message.body)


def insert(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    connection.executemany(
        "INSERT INTO messages (queue, state, priority, visible_at, headers, body) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


def forget_owner(connection: sqlite3.Connection, owner: str, limit: int) -> None:
    held = connection.execute("SELECT id FROM messages WHERE owner = ? AND state = 1", (owner,)).fetchall()
    free(connection, [i for (i,) in held], limit)
    connection.execute("DELETE FROM owners WHERE owner = ?", (owner,))


def _beat(connection: sqlite3.Connection, me: tuple[str, str, int, str], now: float, limit: int) -> None:
    connection.execute("INSERT OR REPLACE INTO owners (owner, host, pid, born, beat) VALUES (?, ?, ?, ?, ?)", (*me, now))
    for owner, host, pid, born, beat in connection.execute("SELECT owner, host, pid, born, beat FROM owners").fetchall():
        gone = _born(pid) != born if host == me[1] else now - beat > SILENCE
        if owner != me[0] and gone:
            forget_owner(connection, owner, limit)
    connection.execute("UPDATE messages SET state = 0 WHERE state = 2 AND visible_at <= ?", (now,))


def _depth(connection: sqlite3.Connection, queue: str) -> Depth:
    ready = connection.execute("SELECT count(*) FROM messages WHERE queue = ? AND state = 0", (queue,)).fetchone()[0]
    held = "SELECT count(*) FROM messages WHERE state = 1 AND queue = ? AND owner IN (SELECT owner FROM owners)"
    delayed = "SELECT count(*) FROM messages WHERE state = 2 AND queue = ?"
    return Depth(
        ready=ready,
        unacked=connection.execute(held, (queue,)).fetchone()[0],
        delayed=connection.execute(delayed, (queue,)).fetchone()[0],
    )


def _confirm(done: asyncio.Future[None], waiting: list[asyncio.Future[None]], timer: asyncio.TimerHandle) -> None:
    timer.cancel()
    error = None if done.cancelled() else done.exception()
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(BrokerUnavailable(str(error)))


def _give_up(waiting: list[asyncio.Future[None]], timeout: float) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(PublishTimeout(f"no commit within {timeout:g} s"))


def _host() -> str:
    """Names this machine's pids: the boot and the pid namespace, where Linux tells them."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot + str(Path("/proc/self/ns/pid").readlink())
    return uuid.uuid4().hex  # unknown: only silence tells that an owner is gone


def _born(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is none. A pid may be given out again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
