"""The embedded adapters, on a file and in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from adapters.sqlite import SqliteBroker, SqliteJournal, SqliteOutcomes
from adapters.sqlite.schema import SCHEMA, VERSION
from core.clock import ManualClock, SystemClock
from core.errors import BadRecord, StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import Failure, Queued
from core.settings import Settings
from tests.contract.broker_suite import DELIVERY_LIMIT, TOPOLOGY, BrokerContract
from tests.contract.journal_suite import AGE, SETTINGS, JournalContract, record
from tests.contract.outcomes_suite import OutcomesContract, claim, letter, outcome


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "new folder" / "headrace.db")


class TestBroker(BrokerContract):
    @pytest.fixture
    async def broker(self, path: str) -> AsyncIterator[SqliteBroker]:
        broker = SqliteBroker(path, TOPOLOGY, Settings(delivery_limit=DELIVERY_LIMIT), SystemClock())
        await broker.open()
        yield broker
        await broker.close()


class TestOutcomes(OutcomesContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def store(self, path: str, clock: ManualClock) -> AsyncIterator[SqliteOutcomes]:
        store = SqliteOutcomes(path, Settings(retention=60), clock)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> Callable[[float], Awaitable[None]]:
        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        return advance

    @pytest.fixture
    def forget_old(self, store: SqliteOutcomes, clock: ManualClock) -> Callable[[float], Awaitable[None]]:
        async def advance_and_purge(seconds: float) -> None:
            clock.advance(seconds)
            while await store.purge():
                pass

        return advance_and_purge

    async def test_purge_forgets_what_is_old_but_no_dead_letter(self, store: SqliteOutcomes, clock: ManualClock) -> None:
        old, new = claim("00000000-0000-7000-8000-000000000001"), claim("00000000-0000-7000-8000-000000000002")
        await store.queued([Queued(old.job_id, old.job_type, ("email",), clock.wall())])
        await store.bury([letter("d1")])
        clock.advance(61)
        await store.queued([Queued(new.job_id, new.job_type, ("email",), clock.wall())])
        assert await store.purge() == 1
        assert await store.purge() == 0
        assert await store.job(old.job_id) is None
        assert await store.job(new.job_id) is not None
        assert await store.dead_letter("d1") is not None

    @pytest.mark.parametrize("text", ["a lone \udcff surrogate", 7j], ids=["surrogate", "no text"])
    async def test_what_cannot_be_written_is_one_records_fault(self, store: SqliteOutcomes, text: str) -> None:
        good, bad = claim(new_job_id()), claim(new_job_id(), "t2")
        await store.claim([good, bad])
        fine, poisoned = outcome(good, State.SUCCEEDED), outcome(bad, State.RETRYING, failure=Failure("E", text))
        for items in ([poisoned], [fine, poisoned]):
            with pytest.raises(BadRecord):
                await store.settle(items)
        assert await self._state(store, good) is State.RUNNING, "of a list nothing is done then"
        assert await store.settle([fine]) == [True]
        with pytest.raises(BadRecord):
            await store.claim([claim(text)])

    async def test_what_cannot_be_read_is_one_records_fault(self, store: SqliteOutcomes) -> None:
        good, bad = claim(new_job_id()), claim(new_job_id(), "t2")
        await store.claim([good, bad])
        spoil = "UPDATE deliveries SET state = 'of a later release' WHERE job_id = ?"
        await store._database.write(lambda c: c.execute(spoil, (bad.job_id,)).rowcount)
        with pytest.raises(BadRecord):
            await store.job(bad.job_id)
        for asked in (store.claim([bad]), store.renew([bad]), store.settle([outcome(bad, State.SUCCEEDED)])):
            with pytest.raises(BadRecord):
                await asked
        assert await store.settle([outcome(good, State.SUCCEEDED)]) == [True]


class TestJournal(JournalContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def journal(self, path: str, clock: ManualClock) -> AsyncIterator[SqliteJournal]:
        journal = SqliteJournal(path, SETTINGS, clock)
        await journal.open()
        yield journal
        await journal.close()

    async def test_what_is_old_goes_with_the_next_append(self, journal: SqliteJournal, clock: ManualClock) -> None:
        await journal.append([record("email", clock.wall(), 1), record("points", clock.wall(), 1)])
        clock.advance(AGE / 2)
        await journal.append([record("email", clock.wall(), 2)])
        clock.advance(AGE / 2 + 1)
        await journal.append([record("email", clock.wall(), 3)])
        assert [r.wanted for r in await journal.tail("email", 9)] == [2, 3]

    async def test_a_state_tells_how_old_it_is_and_a_clock_that_stepped_back_makes_it_new(
        self, journal: SqliteJournal, path: str, clock: ManualClock
    ) -> None:
        await journal.remember({"email": "{}"})
        clock.advance(42)
        assert await journal.recall("email") == ("{}", 42.0)
        behind = SqliteJournal(path, SETTINGS, ManualClock(clock.wall() - 3600))
        await behind.open()
        assert await behind.recall("email") == ("{}", 0.0)
        await behind.close()


async def test_a_file_of_the_first_version_gets_a_journal_and_keeps_its_messages(tmp_path: Path) -> None:
    path, clock = tmp_path / "headrace.db", ManualClock()
    with sqlite3.connect(path) as first:
        first.executescript(SCHEMA + "PRAGMA user_version = 1;")
        first.execute(
            "INSERT INTO messages (queue, state, priority, visible_at, headers, body) VALUES ('one', 0, 0, 0, '{}', x'7b7d')"
        )
    first.close()
    journal = SqliteJournal(str(path), SETTINGS, clock)
    broker = SqliteBroker(str(path), TOPOLOGY, Settings(), SystemClock())
    await journal.open()
    await broker.open()
    await journal.append([record("one", clock.wall(), 3)])
    assert [r.wanted for r in await journal.latest()] == [3]
    assert (await broker.depth("one")).ready == 1
    await broker.close()
    await journal.close()
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (VERSION,)
    now.close()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    with sqlite3.connect(path) as first:  # a table of ours is in the way of the second statement
        first.executescript(SCHEMA + "CREATE TABLE controller_states (other TEXT); PRAGMA user_version = 1;")
    first.close()
    journal = SqliteJournal(str(path), SETTINGS, ManualClock())
    with pytest.raises(StoreUnavailable, match="controller_states"):
        await journal.open()
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (1,)
        assert not now.execute("SELECT name FROM sqlite_schema WHERE name = 'journal'").fetchall()
        now.execute("DROP TABLE controller_states")
    now.close()
    await journal.open()
    assert await journal.latest() == []
    await journal.close()


async def test_a_journal_whose_file_cannot_be_opened_is_away_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    journal, clock = SqliteJournal(str(folder / "headrace.db"), SETTINGS, ManualClock()), ManualClock()
    for asked in (journal.open, journal.latest):
        with pytest.raises(StoreUnavailable):
            await asked()
    with pytest.raises(StoreUnavailable):
        await journal.append([record("email", clock.wall())])
    with pytest.raises(StoreUnavailable):
        await journal.remember({"email": "{}"})
    with pytest.raises(StoreUnavailable):
        await journal.recall("email")
    folder.unlink()
    await journal.append([record("email", clock.wall(), 5)])
    assert [r.wanted for r in await journal.latest()] == [5]
    await journal.close()


async def test_a_journal_whose_file_is_locked_by_another_is_away_in_bounded_time(tmp_path: Path) -> None:
    path, clock = tmp_path / "headrace.db", ManualClock()
    journal = SqliteJournal(str(path), SETTINGS, clock)
    await journal.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await journal.append([record("email", clock.wall(), 1)])
    assert await journal.latest() == [], "who reads does not wait"
    other.execute("ROLLBACK")
    other.close()
    await journal.append([record("email", clock.wall(), 2)])
    assert [r.wanted for r in await journal.latest()] == [2]
    await journal.close()
