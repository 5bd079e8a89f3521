"""Faults of an SQLite file, and of the thread that writes it: locked, full, deleted, spoiled, ended."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import resource
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from adapters.sqlite.database import DatabaseUnavailable, Unanswered
from adapters.sqlite.liveness import this_process
from adapters.sqlite.schema import SCHEMA, STEPS, VERSION
from adapters.sqlite.subscription import SqliteSubscription
from core.chance import SystemChance
from core.clock import SystemClock
from core.errors import BadRecord, BrokerError, BrokerUnavailable, PublishTimeout, StoreUnavailable, Unpublishable
from core.identity import new_job_id
from core.model import State
from core.ports import Depth, Message, Verdict
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, publish, subscribed, until, until_depth
from tests.contract.outcomes_suite import claim, outcome

# A write is answered within twice the store's timeout; a busy machine adds to that.
TIMEOUT, WITHIN = 0.3, 20.0
SETTINGS = Settings(store_timeout=TIMEOUT, publish_timeout=2.0, connect_timeout=2.0)


@dataclass
class World:
    path: str
    broker: SqliteBroker
    store: SqliteOutcomes

    async def works(self) -> None:
        """A message is confirmed and delivered, and a claim is answered, as soon as the file allows it again."""
        await eventually(self._publishes)
        inbox = Inbox()
        subscription = await subscribed(self.broker, "one", 1000, inbox)
        await until(lambda: any(d.headers["cloudEvents_id"] == "probe" for d in inbox.got), WITHIN)
        for delivery in inbox.got:
            subscription.ack(delivery)
        await subscription.close()
        await eventually(self._claims)

    async def _publishes(self) -> None:
        await publish(self.broker, message("probe"))

    async def _claims(self) -> None:
        assert [a.verdict for a in await self.store.claim([claim(new_job_id())])] == [Verdict.GRANTED]


async def eventually(attempt: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await attempt()
            except (BrokerError, StoreUnavailable):
                await asyncio.sleep(0.02)
            else:
                return


async def refused(asked: Any, *errors: type[BaseException]) -> BaseException:
    """It fails, with one of these errors, in bounded time."""
    with pytest.raises(errors) as raised:
        await asyncio.wait_for(asked, WITHIN)
    return raised.value


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def delete(path: str) -> None:
    for part in ("", "-wal", "-shm"):
        unlink(path + part)


def spoil(path: str) -> None:
    """Overwrite all pages but the first ones, which hold the schema."""
    with Path(path).open("r+b") as file:
        for page in range(30, size_of(path) // 4096 - 5):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path, clock = str(tmp_path / "headrace.db"), SystemClock()
    world = World(path, SqliteBroker(path, TOPOLOGY, SETTINGS, clock), SqliteOutcomes(path, SETTINGS, clock))
    await world.broker.open()
    await world.store.open()
    yield world
    await asyncio.wait_for(world.store.close(), WITHIN)
    await asyncio.wait_for(world.broker.close(), WITHIN)


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
async def test_a_file_that_another_locks_for_long_is_away_in_bounded_time(world: World, lock: str) -> None:
    await publish(world.broker, message("held"))
    inbox = Inbox()
    subscription = await subscribed(world.broker, "one", 1, inbox)
    (held,) = await inbox.wait_for(1)
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute(f"BEGIN {lock}")
    asked = claim(new_job_id())
    later = Message("held", "b.happened", {"n": "2"}, b"", queue="one", delay=9.0)
    await asyncio.gather(
        refused(world.broker.publish([message("x")])[0], BrokerUnavailable, PublishTimeout),
        refused(world.broker.depth("one"), BrokerUnavailable),
        refused(subscription.postpone(held, later), BrokerUnavailable),
        refused(world.store.ping(), StoreUnavailable),
        refused(world.store.claim([asked]), StoreUnavailable),
        refused(world.store.settle([outcome(asked, State.SUCCEEDED)]), StoreUnavailable),
        *(refused(world.store.renew([asked]), StoreUnavailable) for _ in range(300)),
    )
    assert await world.store.job(asked.job_id) is None, "who reads does not wait"
    await until(world.broker.unready, WITHIN)
    await asyncio.wait_for(subscription.pause(), WITHIN)
    await asyncio.wait_for(subscription.close(), WITHIN)
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: world.broker.unready() is None, WITHIN)
    await world.works()
    await until_depth(world.broker, "one", 0)  # what the subscription could not hand back was handed back later, and acked


async def test_a_full_disk_is_away_until_there_is_room(world: World, tmp_path: Path) -> None:
    """Nothing can be written behind the first 256 KiB of a file: not into the log, which is longer, nor from it into the file."""
    await publish(world.broker, message("x", body=b"x" * 2_000_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    try:
        await refused(world.broker.publish([message("y")])[0], BrokerUnavailable, PublishTimeout)
        await until(world.broker.unready, WITHIN)
        await refused(world.store.ping(), StoreUnavailable)
        await refused(world.store.claim([claim(new_job_id())]), StoreUnavailable)
        assert await world.store.job(new_job_id()) is None, "who reads needs no room"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await until(lambda: world.broker.unready() is None, WITHIN)
    await world.works()


async def test_a_file_without_room_for_one_piece_goes_on_with_the_others(world: World) -> None:
    """SQLite's own limit, on the writer's connection: SQLITE_FULL, which rolls all of a transaction back."""
    database = world.broker.database
    full = database.write(lambda c: c.execute("PRAGMA max_page_count = 60").fetchone()[0])
    assert await full == 60
    small, big = world.broker.publish([message("small")])[0], world.broker.publish([message("big", body=b"x" * 1_000_000)])[0]
    await refused(big, BrokerUnavailable)
    await asyncio.wait({small}, timeout=WITHIN)
    assert small.exception() is None or isinstance(small.exception(), BrokerUnavailable)
    await world.works()


async def test_a_file_that_was_deleted_is_made_anew_and_nothing_is_confirmed_that_is_lost(world: World) -> None:
    await publish(world.broker, message("before"))
    delete(world.path)
    confirmed = set()
    for n in range(5):
        future = world.broker.publish([message(str(n))])[0]
        await asyncio.wait({future}, timeout=WITHIN)
        if future.exception() is None:
            confirmed.add(str(n))
    await eventually(lambda: publish(world.broker, message("end")))
    with sqlite3.connect(world.path) as other:
        kept = {
            headers["cloudEvents_id"] for (text,) in other.execute("SELECT headers FROM messages") for headers in [json.loads(text)]
        }
    other.close()
    assert kept >= confirmed | {"end"}
    await world.works()


@pytest.mark.parametrize("part", ["-wal", "-shm"])
async def test_a_file_whose_log_or_index_was_deleted_is_opened_again(world: World, part: str) -> None:
    """As by `rm headrace.db*`, which deletes the log of the file that was created again a moment before."""
    await publish(world.broker, message("before"))
    for _ in range(3):
        unlink(world.path + part)
        await world.works()


async def test_a_process_that_begins_after_the_index_was_deleted_uses_the_same_one(world: World) -> None:
    """Where ours kept the deleted one, both would write by an index of their own, and spoil the file."""
    began = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA wal_checkpoint'); "
        "print(c.execute('{}').fetchone()[0])"
    )
    for n in range(3):
        unlink(world.path + "-shm")
        await world.works()
        assert os.path.exists(world.path + "-shm"), "made anew, by all of this process"  # noqa: ASYNC240, PTH110
        numbers = [world.broker.publish([message(f"{n} {i}")])[0] for i in range(50)]
        command = [sys.executable, "-c", began.format("SELECT count(*) FROM messages"), world.path]
        other = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        await asyncio.gather(*numbers)
        said, _ = await asyncio.wait_for(other.communicate(), WITHIN)
        assert int(said) >= 0
    check = await asyncio.create_subprocess_exec(
        sys.executable, "-c", began.format("PRAGMA integrity_check"), world.path, stdout=-1
    )
    assert (await asyncio.wait_for(check.communicate(), WITHIN))[0] == b"ok\n"


async def test_what_is_written_into_a_deleted_file_is_not_confirmed(world: World) -> None:
    """Deleted by the very piece, so after the last look before it."""

    gone = world.broker.database.write(lambda c: delete(world.path))
    lost = world.broker.publish([message("lost")])[0]
    await refused(gone, Unanswered)
    await asyncio.wait({lost}, timeout=WITHIN)
    await world.works()


async def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    path.mkdir()
    broker, store = SqliteBroker(str(path), TOPOLOGY, SETTINGS, SystemClock()), SqliteOutcomes(str(path), SETTINGS, SystemClock())
    await asyncio.wait_for(broker.open(), WITHIN)
    assert "unable to open" in str(broker.unready())
    await refused(store.open(), StoreUnavailable)
    await refused(store.ping(), StoreUnavailable)
    await refused(broker.publish([message("x")])[0], BrokerUnavailable)
    path.rmdir()
    await until(lambda: broker.unready() is None, WITHIN)
    await publish(broker, message("x"))
    await store.ping()
    await store.close()
    await broker.close()


async def test_a_file_of_a_newer_release_is_refused_clearly(world: World, tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as file:
        file.execute(f"PRAGMA user_version = {VERSION + 1}")
    file.close()
    broker = SqliteBroker(str(newer), TOPOLOGY, SETTINGS, SystemClock())
    await broker.open()
    assert f"schema version {VERSION + 1}; this release knows {VERSION}" in str(broker.unready())
    await broker.close()


async def test_spoiled_pages_are_an_error_and_no_end(world: World) -> None:
    await publish(world.broker, *(message(str(n), body=b"x" * 2000) for n in range(200)))
    with sqlite3.connect(world.path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    spoil(world.path)
    inbox = Inbox()
    subscription = await subscribed(world.broker, "one", 500, inbox)
    await refused(_until_error(world), BrokerError, StoreUnavailable)
    await asyncio.wait_for(subscription.close(), WITHIN)
    delete(world.path)  # an operator puts another file in its place
    await until(lambda: world.broker.unready() is None, WITHIN)
    await world.works()


async def _until_error(world: World) -> None:
    while True:
        await publish(world.broker, *(message("x", body=b"x" * 5000) for _ in range(20)))
        await world.broker.depth("one")
        await world.store.claim([claim(new_job_id()) for _ in range(20)])
        if world.broker.unready():
            raise BrokerUnavailable(world.broker.unready())
        await asyncio.sleep(0.01)


def _exit(_: sqlite3.Connection) -> None:
    raise SystemExit(3)


def _interrupt(_: sqlite3.Connection) -> None:
    raise KeyboardInterrupt


def _no_memory(_: sqlite3.Connection) -> None:
    raise MemoryError


def _close(c: sqlite3.Connection) -> None:
    c.close()


def _commit(c: sqlite3.Connection) -> None:
    c.execute("COMMIT")


@pytest.mark.parametrize("piece", [_exit, _interrupt, _no_memory, _close, _commit])
async def test_the_writer_survives_whatever_a_piece_does(world: World, piece: Callable[[sqlite3.Connection], None]) -> None:
    database = world.broker.database
    for _ in range(3):
        await refused(database.write(piece), DatabaseUnavailable)
        await world.works()
    assert database.supervisor.wrong == []


async def test_a_piece_that_is_at_fault_undoes_no_neighbour(world: World) -> None:
    database = world.broker.database

    def add(name: object, connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO jobs VALUES (?, 'x', 0)", (name,)).rowcount

    pieces = [database.write(functools.partial(add, name)) for name in ("a", "\udcff", "b", 1 << 70, "a")]
    answers = await asyncio.gather(*pieces, return_exceptions=True)
    assert [type(a) for a in answers] == [int, BadRecord, int, BadRecord, BadRecord]


class Broken(SystemChance):
    """Each caller that asks for a pause gets an error instead, a few times: a fault in the very answer to a fault."""

    def __init__(self, times: int) -> None:
        super().__init__()
        draw, self.left = self.uniform, times
        self.uniform = lambda low, high: self._fail_or(draw(low, high))  # type: ignore[assignment]  # its parameters have other names

    def _fail_or(self, drawn: float) -> float:
        self.left -= 1
        if self.left >= 0:
            raise MemoryError
        return drawn


async def test_a_writer_that_dies_of_its_faults_is_started_again(tmp_path: Path) -> None:
    path, clock = str(tmp_path / "headrace.db"), SystemClock()
    broker, store = SqliteBroker(path, TOPOLOGY, SETTINGS, clock), SqliteOutcomes(path, SETTINGS, clock)
    await broker.open()
    await store.open()
    database = broker.database
    broken = database._writer._chance = Broken(2)
    for _ in range(6):
        await refused(database.write(_close), DatabaseUnavailable)
    await World(path, broker, store).works()
    assert broken.left <= 0
    assert any(loop.failures for loop in database.supervisor.loops), "it was seen"
    await store.close()
    await broker.close()


async def test_a_writer_that_ended_is_started_again_and_seen(world: World) -> None:
    database = world.broker.database
    first = database._writer._thread
    assert first is not None
    database._writer.stop()  # only `close` may
    await until(lambda: not first.is_alive())
    await world.works()
    assert database._writer._thread is not first
    assert any(loop.failures for loop in database.supervisor.loops)


async def test_what_is_given_up_while_it_waits_is_never_written(world: World) -> None:
    database = world.broker.database
    slow = database.write(lambda c: time.sleep(TIMEOUT * 4))
    await asyncio.sleep(TIMEOUT / 2)  # it has begun
    late = world.broker.publish([message("late")])[0]
    assert type(await refused(slow, Unanswered)) is Unanswered
    assert isinstance(await refused(late, BrokerUnavailable), BrokerUnavailable), "not begun: nothing was sent"
    await eventually(lambda: world.broker.depth("one"))
    assert (await world.broker.depth("one")).ready == 0


async def test_what_was_taken_without_our_knowledge_is_given_all_the_same(world: World) -> None:
    """The take is committed, but so late that no caller waits for its answer any more."""
    database, inbox = world.broker.database, Inbox()
    subscription = await subscribed(world.broker, "one", 5, inbox)
    await publish(world.broker, message("warm"))
    (warm,) = await inbox.wait_for(1)
    with sqlite3.connect(world.path) as other:
        other.execute(
            "INSERT INTO messages SELECT 1000, 'one', 0, 0, 0, '', 0, 0, NULL, 0, NULL, '{\"cloudEvents_id\": \"x\"}', x'00'"
        )
    other.close()
    slow = [database.write(lambda c: time.sleep(TIMEOUT * 0.75)), *(database.write(lambda c: time.sleep(0.1)) for _ in range(20))]
    assert isinstance(subscription, SqliteSubscription)
    subscription._look.set()
    await asyncio.gather(*slow, return_exceptions=True)
    assert len(await inbox.wait_for(2, WITHIN)) == 2
    subscription.ack(warm)
    await subscription.close()
    await eventually(lambda: until_depth(world.broker, "one", 1))


async def test_one_message_that_cannot_be_stored_is_its_own_fault(world: World) -> None:
    bad = [
        Message("s", "b.happened", {"x": "\udcff"}, b""),
        Message("n", "b.happened", {"x": 7j}, b""),  # type: ignore[dict-item]  # what a program may do
        Message("o", "b.happened", {}, b"", priority=1 << 70),
        Message("b", "b.happened", {}, None),  # type: ignore[arg-type]  # what a program may do
        Message("d", "b.happened", {}, b"", queue="one", delay="soon"),  # type: ignore[arg-type]  # as above
    ]
    window = [message("first"), *bad, message("last")]
    answers = await asyncio.gather(*world.broker.publish(window), return_exceptions=True)
    assert [type(a) for a in answers] == [type(None), *[Unpublishable] * len(bad), type(None)]
    inbox = Inbox()
    subscription = await subscribed(world.broker, "one", 5, inbox)
    held = (await inbox.wait_for(2))[0]
    assert (await world.broker.depth("one")).unacked == 2
    for poison in bad:
        await refused(subscription.postpone(held, poison), Unpublishable)
    subscription.ack(held)
    await subscription.close()
    await until_depth(world.broker, "one", 1)


async def test_a_delivery_that_is_not_held_any_more_is_left_alone(world: World) -> None:
    await publish(world.broker, message("x"))
    inbox = Inbox()
    subscription = await subscribed(world.broker, "one", 5, inbox)
    (delivery,) = await inbox.wait_for(1)
    with sqlite3.connect(world.path) as other:  # another process took us for dead, and has it now
        other.execute("INSERT INTO owners VALUES ('another', ?, ?, ?, 0)", this_process())
        other.execute("UPDATE messages SET owner = 'another'")
    other.close()
    later = Message("x", "b.happened", {"n": "2"}, b"", queue="one", delay=9.0)
    await subscription.postpone(delivery, later)
    subscription.ack(delivery)
    subscription.hand_back(delivery)
    assert await world.broker.depth("one") == Depth(ready=0, unacked=1, delayed=0)
    await subscription.close()
    assert await world.broker.depth("one") == Depth(ready=0, unacked=1, delayed=0)


async def test_a_message_whose_headers_cannot_be_read_is_given_without_them(world: World) -> None:
    await publish(world.broker, message("x", body=b"its bytes"), message("y"))
    with sqlite3.connect(world.path) as other:
        other.execute("UPDATE messages SET headers = CAST(x'ff7b' AS TEXT), death = 'of a later release' WHERE id = 1")
    other.close()
    inbox = Inbox()
    subscription = await subscribed(world.broker, "one", 5, inbox)
    spoiled, good = await inbox.wait_for(2)
    assert (spoiled.headers, spoiled.body) == ({}, b"its bytes")
    assert good.headers["cloudEvents_id"] == "y"
    await subscription.close()


async def test_many_rounds_of_pause_and_resume_never_hold_more_than_the_prefetch(world: World) -> None:
    await publish(world.broker, *(message(str(n)) for n in range(50)))
    inbox = Inbox()
    subscription = await subscribed(world.broker, "one", 4, inbox)
    await inbox.wait_for(4)
    for _ in range(30):
        await subscription.pause()
        await subscription.resume()
        await asyncio.sleep(0.002)
    assert len(inbox.got) == 4
    subscription.ack(inbox.got[0])
    await subscription.pause()
    count = len(inbox.got)
    await asyncio.sleep(0.05)
    assert len(inbox.got) == count, "nothing is given after a pause"
    await subscription.close()


async def test_a_file_of_the_release_before_keeps_all_that_is_in_it(tmp_path: Path) -> None:
    path, clock = tmp_path / "headrace.db", SystemClock()
    now, ran, waits, dead = clock.wall(), new_job_id(), new_job_id(), new_job_id()
    columns = "id, queue, state, priority, visible_at, owner, headers, body"
    add = f"INSERT INTO messages ({columns}) VALUES (?, 'one', ?, 0, ?, ?, ?, x'00')"  # noqa: S608 - our own words
    columns = "job_id, queue, state, attempt, token, lease_until, next_at, touched_at"
    run = f"INSERT INTO deliveries ({columns}) VALUES (?, 'email', ?, 1, 't1', ?, ?, ?)"  # noqa: S608 - our own words
    with sqlite3.connect(path) as old:
        old.executescript(SCHEMA + STEPS[2] + "PRAGMA user_version = 2;")
        for number, state, due, owner in ((7, 0, 0, None), (8, 1, 0, "dead"), (9, 1, 0, "nobody"), (10, 2, now + 600, None)):
            old.execute(add, (number, state, due, owner, f'{{"cloudEvents_id": "{number}"}}'))
        old.execute(add, (11, 2, now - 1, None, '{"cloudEvents_id": "11"}'))
        old.execute("INSERT INTO owners VALUES ('dead', 'another boot', 1, '1', ?)", (now,))
        for job, named, lease, next_at in (
            (ran, "running", now + 600, None),
            (waits, "retrying", 0, now + 600),
            (dead, "dead", 0, None),
        ):
            old.execute("INSERT INTO jobs VALUES (?, 'user.registered', ?)", (job, now))
            old.execute(run, (job, named, lease, next_at, now))
        old.execute(
            "INSERT INTO dead_letters VALUES ('d1', 'email', 'user.registered', ?, 'expired', ?, 1, '{}', x'ff', NULL, NULL)",
            (dead, now),
        )
        old.execute("INSERT INTO journal (queue, at, record) VALUES ('one', ?, '{}')", (now,))
    old.close()
    broker, store = SqliteBroker(str(path), TOPOLOGY, Settings(), clock), SqliteOutcomes(str(path), Settings(), clock)
    await broker.open()
    await store.open()
    inbox = Inbox()
    subscription = await subscribed(broker, "one", 10, inbox)
    assert {d.headers["cloudEvents_id"] for d in await inbox.wait_for(4)} == {"7", "8", "9", "11"}
    assert (await broker.depth("one")).delayed == 1
    running, waiting, ended = await store.claim([claim(job, "t2") for job in (ran, waits, dead)])
    assert [a.verdict for a in (running, waiting, ended)] == [Verdict.HELD, Verdict.WAITING, Verdict.SETTLED]
    assert running.seconds == pytest.approx(600, abs=60)
    assert waiting.seconds == pytest.approx(600, abs=60)
    assert await store.settle([outcome(claim(ran), State.SUCCEEDED)]) == [True], "the old claim is still its holder's"
    letter = await store.dead_letter("d1")
    assert letter is not None
    assert (letter.body, letter.job_id) == (b"\xff", dead)
    await publish(broker, message("new"))
    assert (await inbox.wait_for(5))[-1].tag > 11
    for delivery in inbox.got:
        subscription.ack(delivery)
    await subscription.close()
    await until_depth(broker, "one", 0)
    await store.close()
    await broker.close()
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert file.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    file.close()
