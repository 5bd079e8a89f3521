"""The embedded adapters, on a file and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from jobs.adapters.sqlite import SqliteBroker, SqliteOutcomes
from jobs.clock import ManualClock, SystemClock
from jobs.ports import Queued
from jobs.settings import Settings
from tests.contract.broker_suite import DELIVERY_LIMIT, TOPOLOGY, BrokerContract
from tests.contract.outcomes_suite import OutcomesContract, claim, letter


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
