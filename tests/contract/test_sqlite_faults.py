"""The embedded adapters where things go wrong: clocks that step, processes that die, values that cannot be written, a file that
cannot be used, and a file of the version before."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from adapters.sqlite.database import Database, DatabaseUnavailable
from adapters.sqlite.schema import SCHEMA, STEPS
from core.clock import BootTime, ManualClock, SystemClock
from core.coalesce import Coalescer
from core.errors import BadRecord, BrokerError, StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import Failure, Message, Outcome, Verdict
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, publish, subscribed, until_depth
from tests.contract.outcomes_suite import LEASE, claim, letter, outcome


@asynccontextmanager
async def store_at(path: object, clock: ManualClock | SystemClock | None = None) -> AsyncIterator[SqliteOutcomes]:
    store = SqliteOutcomes(str(path), Settings(store_timeout=0.3), clock or SystemClock())
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def broker_at(path: object, clock: ManualClock | SystemClock | None = None) -> AsyncIterator[SqliteBroker]:
    broker = SqliteBroker(str(path), TOPOLOGY, Settings(store_timeout=0.3), clock or SystemClock())
    await broker.open()
    yield broker
    await broker.close()


class Rebooted(ManualClock):
    """The clock of the same machine after a boot."""

    def boot(self) -> BootTime:
        return BootTime("another", super().boot().seconds)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_step_of_the_wall_clock_neither_ends_nor_freezes_a_lease(step: float) -> None:
    clock = ManualClock()
    async with store_at(":memory:", clock) as store:
        first = claim(new_job_id())
        await store.claim([first])
        clock.step(step)
        (answer,) = await store.claim([replace(first, token="t2")])
        assert (answer.verdict, answer.seconds) == (Verdict.HELD, LEASE)
        clock.advance(LEASE + 0.1)
        assert (await store.claim([replace(first, token="t2")]))[0].verdict is Verdict.CRASHED


async def test_a_step_of_the_wall_clock_moves_no_retry_and_no_delayed_message() -> None:
    clock = ManualClock()
    async with store_at(":memory:", clock) as store, broker_at(":memory:", clock) as broker:
        first = claim(new_job_id())
        await store.claim([first])
        await store.settle([Outcome(first, State.RETRYING, clock.wall(), next_at=clock.wall() + 5)])
        await publish(broker, message(queue="one", delay=5.0))
        clock.step(-3600.0)
        assert (await store.claim([replace(first, token="t2")]))[0].seconds == 5.0
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        assert (await broker.depth("one")).delayed == 1
        clock.advance(5.1)
        await inbox.wait_for(1)
        await subscription.close()


async def test_after_a_reboot_leases_are_over_and_delays_go_by_the_wall_clock(tmp_path: Path) -> None:
    path, clock, first = tmp_path / "headrace.db", ManualClock(), claim(new_job_id())
    async with store_at(path, clock) as store, broker_at(path, clock) as broker:
        await store.claim([first])
        await publish(broker, message(queue="one", delay=60.0))
    rebooted = Rebooted(clock.wall() + 59)  # its boot clock begins again
    async with store_at(path, rebooted) as store, broker_at(path, rebooted) as broker:
        assert (await store.claim([replace(first, token="t2")]))[0].verdict is Verdict.CRASHED
        assert (await broker.depth("one")).delayed == 1
        rebooted.advance(1.1)
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        await inbox.wait_for(1)
        await subscription.close()


async def test_the_claim_of_a_process_that_was_killed_is_free_at_once(tmp_path: Path) -> None:
    path, job = tmp_path / "headrace.db", new_job_id()
    program = f"""
        import asyncio, os, signal
        from dataclasses import replace
        from tests.contract.outcomes_suite import claim
        from tests.contract.test_sqlite_faults import store_at

        async def main():
            async with store_at({str(path)!r}) as store:
                await store.claim([replace(claim({job!r}), lease=3600.0)])
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(program))
    assert await asyncio.wait_for(killed.wait(), 60) == -9
    async with store_at(path) as store:
        again = replace(claim(job, "t2"), lease=3600.0)
        assert (await store.claim([again]))[0].verdict is Verdict.CRASHED
        assert (await store.claim([replace(again, token="t3")]))[0].verdict is Verdict.HELD, "this process lives"


async def test_a_number_is_never_given_out_again(tmp_path: Path) -> None:
    async with broker_at(tmp_path / "headrace.db") as broker:
        seen: list[int] = []
        for _ in range(3):
            await publish(broker, message())
            inbox = Inbox()
            subscription = await subscribed(broker, "one", 1, inbox)
            (delivery,) = await inbox.wait_for(1)
            seen.append(delivery.tag)
            subscription.ack(delivery)
            await until_depth(broker, "one", 0)
            await subscription.close()
        assert sorted(set(seen)) == seen


async def test_what_an_owner_without_a_row_holds_is_freed(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    async with broker_at(path) as broker:
        await publish(broker, message())
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        await inbox.wait_for(1)
        await broker.database.write(lambda c: c.execute("UPDATE messages SET owner = 'nobody'").rowcount)
        await until_depth(broker, "one", 0)
        assert len(await inbox.wait_for(1)) == 1
        await subscription.pause()
        await until_depth(broker, "one", 1)
        await subscription.close()


async def test_one_item_that_cannot_be_written_fails_alone() -> None:
    async with store_at(":memory:") as store, broker_at(":memory:") as broker:
        claims = [claim(new_job_id(), f"t{n}") for n in range(10)]
        await store.claim(claims)
        settle = Coalescer(store.settle)
        outcomes = [outcome(c, State.RETRYING, next_at=4e9, failure=Failure("E", "fine")) for c in claims]
        outcomes[3] = outcome(claims[3], State.RETRYING, next_at=4e9, failure=Failure("E", "no such file: \udcff"))
        answers = await asyncio.gather(*(settle.ask(one) for one in outcomes), return_exceptions=True)
        assert [type(a) for n, a in enumerate(answers) if a is not True] == [BadRecord]
        assert isinstance(answers[3], BadRecord)

        messages = [message(str(n)) for n in range(5)]
        messages[2] = Message("2", "b.happened", {"cloudEvents_id": "\udcff"}, b"{}")
        confirms = await asyncio.gather(*broker.publish(messages), return_exceptions=True)
        assert [isinstance(c, BrokerError) for c in confirms] == [False, False, True, False, False]
        assert (await broker.depth("one")).ready == 4


async def test_pauses_and_resumes_never_take_more_than_the_prefetch(tmp_path: Path) -> None:
    async with broker_at(tmp_path / "headrace.db") as broker:
        await publish(broker, *(message(str(n)) for n in range(50)))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 4, inbox)
        await inbox.wait_for(4)
        for _ in range(20):
            await subscription.pause()
            await subscription.resume()
            await asyncio.sleep(0.01)
        assert len(inbox.got) == 4
        await subscription.close()


async def test_a_file_that_is_locked_for_long_is_away_and_then_back(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    async with store_at(path) as store, broker_at(path) as broker:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        asked = claim(new_job_id())
        for refused in (store.claim([asked]), store.ping(), store.queued([])):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(refused, 20)
        with pytest.raises(BrokerError):
            await asyncio.wait_for(broker.publish([message()])[0], 20)
        other.execute("ROLLBACK")
        other.close()
        await store.ping()
        assert (await store.claim([asked]))[0].verdict.ours
        await publish(broker, message())


async def test_a_full_disk_is_away_and_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    async with store_at(path) as store, broker_at(path) as broker:
        await publish(broker, message("kept"))
        pages = await broker.database.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
        await broker.database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
        with pytest.raises(BrokerError, match="full"):
            await broker.publish([message("lost", body=b"x" * 1_000_000)])[0]
        assert (await broker.depth("one")).ready == 1
        await broker.database.write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
        await publish(broker, message("next", body=b"x" * 1_000_000))
        await store.ping()


@pytest.mark.parametrize(
    "error", [MemoryError(), SystemExit(3), KeyboardInterrupt(), sqlite3.DatabaseError("disk image is malformed")]
)
async def test_whatever_fails_in_the_writer_fails_those_who_wait_and_nobody_after(tmp_path: Path, error: BaseException) -> None:
    database = Database(str(tmp_path / "headrace.db"), 0.3, SystemClock())
    await database.open()

    def fail(_: sqlite3.Connection) -> None:
        raise error

    with pytest.raises((DatabaseUnavailable, BadRecord)):
        await asyncio.wait_for(database.write(fail), 20)
    assert await database.write(lambda c: c.execute("SELECT 1").fetchone()) == (1,)
    await database.close()


async def test_a_file_of_the_version_before_keeps_all_that_is_in_it(tmp_path: Path) -> None:
    path, clock, ran = tmp_path / "headrace.db", SystemClock(), claim(new_job_id())
    with sqlite3.connect(path) as old:
        old.executescript(SCHEMA + STEPS[2] + "PRAGMA user_version = 2;")
        now = clock.wall()
        for name, state, at, owner in (
            ("ready", 0, 0, None),
            ("held", 1, 0, "killed"),
            ("due", 2, now - 1, None),
            ("later", 2, now + 600, None),
        ):
            row = ("one", state, 0, at, owner, f'{{"cloudEvents_id": "{name}"}}', b"{}")
            columns = "queue, state, priority, visible_at, owner, headers, body"
            old.execute(f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - our own text
        old.execute("INSERT INTO owners VALUES ('killed', 'here', 1, '1', 1.0)")
        old.execute("INSERT INTO jobs VALUES (?, 'user.registered', 1.0)", (ran.job_id,))
        columns = "job_id, queue, state, attempt, token, lease_until, touched_at"
        delivery = (ran.job_id, "email", "running", 1, "x", now + 600, now)
        old.execute(f"INSERT INTO deliveries ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", delivery)  # noqa: S608 - our own text
        columns = "dead_id, queue, reason, died_at, attempts, headers, body"
        old.execute(f"INSERT INTO dead_letters ({columns}) VALUES ('d1', 'one', 'rejected', 1, 1, '{{}}', x'00')")  # noqa: S608 - our own text
    old.close()
    async with store_at(path) as store, broker_at(path) as broker:
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 10, inbox)
        got = await inbox.wait_for(3)
        assert {delivery.headers["cloudEvents_id"] for delivery in got} == {"ready", "held", "due"}
        assert (await broker.depth("one")).delayed == 1
        assert await store.dead_letter("d1") is not None
        assert (await store.claim([ran]))[0].verdict is Verdict.HELD, "who runs it may not have ended"
        await store.bury([letter("d2")])
        await subscription.close()
