"""A consumer's hold on one queue of an SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from adapters.sqlite import messages
from adapters.sqlite.database import DatabaseUnavailable, Work
from adapters.sqlite.liveness import this_process
from core.errors import BadRecord, BrokerUnavailable, Unpublishable
from core.ports import Delivery, Message
from core.text import text_of
from telemetry.supervisor import Beat

if TYPE_CHECKING:
    from adapters.sqlite.broker import SqliteBroker

# Without any sign of a commit we look for due messages so often; it bounds how late a delayed message is.
LOOK = 0.25
MOST_AT_ONCE = 500


class SqliteSubscription:
    """One loop, whose every round is one transaction: it settles what was gathered, and takes up to `prefetch`.

    owner: the name under which it holds messages in the file.
    """

    def __init__(self, broker: SqliteBroker, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> None:
        self.owner = broker.chance.token()
        self._broker = broker
        self._database = broker.database
        self._queue = queue
        self._prefetch = prefetch
        self._deliver = deliver
        self._held: set[int] = set()
        self._settled = messages.Settled([], [], [])
        self._in_doubt = False
        self._paused = True
        self._closed = False
        self._look = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._database.listeners.add(self._look.set)
        broker.names.add(self.owner)
        self._loop = broker.supervisor.start(f"sqlite subscription {queue}", self._work, patience=broker.patience)

    @property
    def active(self) -> bool:
        return not self._paused and not self._closed and self._broker.unready() is None

    def ack(self, delivery: Delivery) -> None:
        self._settle(delivery, self._settled.acks)

    def hand_back(self, delivery: Delivery) -> None:
        self._settle(delivery, self._settled.backs)

    def reject(self, delivery: Delivery) -> None:
        self._settle(delivery, self._settled.rejects)

    async def postpone(self, delivery: Delivery, message: Message) -> None:
        number = delivery.tag
        if number not in self._held:
            return  # it was settled, or is somebody else's: it is left alone
        try:
            after = messages.row(self._queue, message, self._broker.now())
            await self._database.write(lambda c: messages.postpone(c, number, self.owner, after))
        except DatabaseUnavailable as error:
            raise BrokerUnavailable(str(error)) from None
        except (BadRecord, TypeError, ValueError) as error:
            raise Unpublishable(f"it cannot be encoded: {text_of(error, 200)}") from None
        self._held.discard(number)
        self._look.set()

    async def pause(self) -> None:
        """Pause. Messages of a take that is under way are still delivered."""
        self._paused = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._database.answers_within):
                await self._at_rest.wait()

    async def resume(self) -> None:
        self._paused = False
        self._look.set()

    def limit(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self._look.set()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._database.listeners.discard(self._look.set)
        await self._loop.stop()
        self._held.clear()
        await self._broker.leave(self.owner, self._leaving())

    async def _work(self, beat: Beat) -> None:
        self._at_rest.set()  # a run before this one may have been broken off
        while True:
            beat()
            self._look.clear()
            if await self._round():
                await asyncio.sleep(0)  # in memory a round waits for nothing
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._look.wait()

    async def _round(self) -> bool:
        """Settle and take. True: there may be more to do at once."""
        credit = self._credit()
        try:
            if not self._settled and not self._wanted(credit):
                return False
            self._at_rest.clear()
            rows = await self._exchange(credit)
        except DatabaseUnavailable:
            self._at_rest.set()
            await asyncio.sleep(self._broker.chance.uniform(0.05, 0.15))
            return True
        self._give(rows)
        self._at_rest.set()
        return bool(rows)

    def _credit(self) -> int:
        if self._paused or self._broker.unready() is not None:
            return 0
        return max(0, min(self._prefetch - len(self._held), MOST_AT_ONCE))

    def _wanted(self, credit: int) -> bool:
        now = self._broker.now()
        return credit > 0 and (self._in_doubt or self._database.read(lambda c: messages.any_ready(c, self._queue, now)))

    async def _exchange(self, credit: int) -> list[messages.Row]:
        """One transaction. Until its answer is there it is in doubt: its settlements are sent again, and messages that it has
        taken without our knowledge are freed by the next one."""
        sent = messages.Settled(*(list(ids) for ids in self._settled))
        known = set(self._held) if self._in_doubt else None
        now, limit = self._broker.now(), self._broker.limit

        def exchange(c: sqlite3.Connection) -> list[messages.Row]:
            messages.settle(c, self.owner, sent, limit)
            if known is not None:
                messages.reclaim(c, self.owner, known, limit)
            if credit == 0:
                return []
            messages.ensure(c, self.owner, this_process())
            return messages.take(c, self._queue, self.owner, credit, now)

        self._in_doubt = True
        rows = await self._database.write(exchange)
        for ids, done in zip(self._settled, sent, strict=True):
            del ids[: len(done)]
        return rows

    def _give(self, rows: list[messages.Row]) -> None:
        """Rows that the receiver refuses stay in doubt, and are freed."""
        for row in rows:
            self._held.add(row[0])
            try:
                self._deliver(messages.delivery(self._queue, row))
            except BaseException:
                self._held.discard(row[0])
                raise
        self._in_doubt = False

    def _settle(self, delivery: Delivery, into: list[int]) -> None:
        if delivery.tag not in self._held:
            return
        self._held.discard(delivery.tag)
        into.append(delivery.tag)
        self._look.set()

    def _leaving(self) -> Work[None]:
        settled, limit = self._settled, self._broker.limit

        def leave(c: sqlite3.Connection) -> None:
            messages.settle(c, self.owner, settled, limit)
            messages.forget(c, self.owner, limit)

        return leave
