"""Queues in an SQLite file: the Broker port for one machine."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence

from adapters.sqlite import messages
from adapters.sqlite.database import Database, DatabaseUnavailable, Unanswered, Work
from adapters.sqlite.liveness import Process, this_process
from adapters.sqlite.moment import Moment
from adapters.sqlite.subscription import SqliteSubscription
from core.chance import Chance, SystemChance
from core.clock import Clock
from core.errors import BadRecord, BrokerError, BrokerUnavailable, PublishTimeout, SettingsError, Unpublishable, Unroutable
from core.ports import Delivery, Depth, Message
from core.settings import Settings
from core.text import text_of
from core.topology import Topology, dead_queue
from telemetry.supervisor import Beat, Supervised, Supervisor

# An owner shows every second that it lives. On the same host a dead one is seen by its pid at once; elsewhere by this silence.
BEAT, SILENCE = 1.0, 30.0

_Item = tuple["asyncio.Future[None]", list[messages.Row]]


class SqliteBroker:
    """One row a message and queue; rows that a subscription holds are marked with its name.

    supervisor: owns its loops; None: it has its own. patience: seconds without a sign of life after which a loop begins again.
    """

    lost = None  # a retry waits in its queue

    def __init__(
        self,
        path: str,
        topology: Topology,
        settings: Settings,
        clock: Clock,
        supervisor: Supervisor | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.chance = chance or SystemChance()
        self.clock = clock
        self.supervisor = supervisor or Supervisor(chance=self.chance)
        self.database = Database.at(path, settings.store_timeout, clock, chance, supervisor)
        self.patience = 30.0 + 2 * self.database.answers_within
        self.limit = settings.delivery_limit
        # The names under which this process appears among the owners: the broker's own, and its subscriptions'. The first is there
        # so that each beat writes something: while a beat cannot be written, nothing can be published either.
        self._name = self.chance.token()
        self.names = {self._name}
        self._topology = topology
        self._queues = {q for queue in topology.queues for q in (queue, dead_queue(queue))}
        self._timeout = settings.publish_timeout
        self._connect_timeout = settings.connect_timeout
        self._opened = False
        self._broken: str | None = "not open"
        self._keeper: Supervised | None = None
        self._looked = asyncio.Event()
        self._leaving: dict[str, Work[None]] = {}
        self._seen: dict[str, tuple[float, float]] = {}

    async def open(self) -> None:
        self._keeper = self.supervisor.start("sqlite keeper", self._keep, patience=self.patience)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._connect_timeout):
                await self._looked.wait()

    async def close(self) -> None:
        if self._keeper is not None:
            await self._keeper.stop()
        if self._opened:
            await self.leave(self._name, lambda c: messages.forget(c, self._name, self.limit))
        for owner in list(self._leaving):
            await self._try_leaving(owner)
        if self._opened:
            self._opened = False
            await self.database.close()
        self._broken = "closed"

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = [loop.create_future() for _ in window]
        items, now = list[_Item](), self.now()
        for message, future in zip(window, futures, strict=True):
            try:
                items.append((future, self._rows(message, now)))
            except BrokerError as error:
                future.set_exception(error)
        if items:
            timer = loop.call_later(self._timeout, _give_up, [future for future, _ in items], self._timeout)
            self._insert(items, timer)
        return futures

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> SqliteSubscription:
        return SqliteSubscription(self, queue, prefetch, deliver)

    async def leave(self, owner: str, work: Work[None]) -> None:
        """The last words of a subscription. While the file is unavailable the keeper goes on trying: no other process may free what
        it held as long as this process lives."""
        self.names.discard(owner)
        self._leaving[owner] = work
        await self._try_leaving(owner)

    async def depth(self, queue: str) -> Depth:
        """In the writer's thread, since it may take a while."""
        try:
            return await self.database.write(lambda c: messages.depth(c, queue))
        except DatabaseUnavailable as error:
            raise BrokerUnavailable(str(error)) from None

    def unready(self) -> str | None:
        return self._broken

    async def advice(self) -> list[str]:
        """Nothing: the file is ours alone."""
        return []

    def now(self) -> Moment:
        return Moment.of(self.clock)

    def _rows(self, message: Message, now: Moment) -> list[messages.Row]:
        """Its row in each queue that gets it. Raises BrokerError."""
        queues = self._topology.bindings.get(message.job_type, ()) if message.queue is None else (message.queue,)
        if not queues or not self._queues.issuperset(queues):
            raise Unroutable(f"no queue is bound for job type {message.job_type!r}")
        try:
            return [messages.row(queue, message, now) for queue in queues]
        except (TypeError, ValueError) as error:
            raise Unpublishable(f"it cannot be encoded: {text_of(error, 200)}") from None

    def _insert(self, items: list[_Item], timer: asyncio.TimerHandle | None) -> None:
        rows = [row for _, of_one in items for row in of_one]
        written = self.database.write(lambda c: messages.insert(c, rows))
        written.add_done_callback(lambda done: self._inserted(done, items, timer))

    def _inserted(self, done: asyncio.Future[None], items: list[_Item], timer: asyncio.TimerHandle | None) -> None:
        error = done.exception()
        if isinstance(error, BadRecord) and len(items) > 1:
            for item in items:  # one of them is at fault; the timer goes on
                self._insert([item], None)
            return
        if timer is not None:
            timer.cancel()
        for future, _ in items:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(_as_broker_error(error))

    async def _keep(self, beat: Beat) -> None:
        """Every second: open what could not be opened, show that we live, free what the dead held, let delayed ones in."""
        while True:
            beat()
            await self._look_after()
            self._looked.set()
            await asyncio.sleep(BEAT)
            if self.database.supervisor is not self.supervisor and (wrong := self.database.supervisor.wrong):
                raise RuntimeError("; ".join(wrong))  # so that it is seen where our own loops are

    async def _look_after(self) -> None:
        try:
            if not self._opened:
                await self.database.open()
                self._opened = True
            await self._beat()
        except (DatabaseUnavailable, SettingsError) as error:
            self._broken = str(error)
            return
        self._broken = None
        for owner in list(self._leaving):
            await self._try_leaving(owner)

    async def _beat(self) -> None:
        now, me, mine = self.now(), this_process(), list(self.names)

        def beat(c: sqlite3.Connection) -> list[tuple[str, Process, float]]:
            for owner in mine:
                messages.appear(c, owner, me, now.seconds)
            others = [other for other in messages.owners(c) if other[0] not in self.names]
            for owner, process, figure in others:
                if self._gone(owner, process, figure):
                    messages.forget(c, owner, self.limit)
            messages.free_orphans(c, self.limit)
            messages.measure_anew(c, now)
            messages.let_in(c, now)
            return others

        others = await self.database.write(beat)
        steady = self.clock.steady()
        before, self._seen = self._seen, {}
        for owner, _, figure in others:
            known = before.get(owner)
            self._seen[owner] = known if known is not None and known[0] == figure else (figure, steady)

    def _gone(self, owner: str, process: Process, figure: float) -> bool:
        """By its pid; where that tells nothing, by the silence that we saw ourselves."""
        dead = process.dead
        if dead is not None:
            return dead
        seen = self._seen.get(owner)
        return seen is not None and seen[0] == figure and self.clock.steady() - seen[1] > SILENCE

    async def _try_leaving(self, owner: str) -> None:
        if (work := self._leaving.get(owner)) is not None:
            with contextlib.suppress(DatabaseUnavailable):
                await self.database.write(work)
                self._leaving.pop(owner, None)


def _as_broker_error(error: BaseException) -> BrokerError:
    if isinstance(error, Unanswered):
        return PublishTimeout(str(error))
    if isinstance(error, DatabaseUnavailable):
        return BrokerUnavailable(str(error))
    return Unpublishable(f"it cannot be stored: {text_of(error, 200)}")


def _give_up(waiting: list[asyncio.Future[None]], timeout: float) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(PublishTimeout(f"no commit within {timeout:g} s"))
