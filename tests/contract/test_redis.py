"""Redis, on a real server, and with it stalled and killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from jobs.adapters.journal_text import to_text
from jobs.adapters.redis import RedisJournal, RedisOutcomes
from jobs.clock import SystemClock
from jobs.errors import StoreUnavailable
from jobs.identity import new_job_id
from jobs.settings import Settings
from tests.contract.journal_suite import AGE, SETTINGS, JournalContract, record
from tests.contract.outcomes_suite import OutcomesContract, claim
from tests.servers.redis import RedisServer


class TestOutcomes(OutcomesContract):
    @pytest.fixture
    async def store(self, redis_server: RedisServer) -> AsyncIterator[RedisOutcomes]:
        async with aioredis.Redis.from_url(redis_server.url) as client:
            await client.flushall()
        store = RedisOutcomes(redis_server.url, Settings(retention=60), SystemClock())
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def pass_time(self) -> Callable[[float], Awaitable[None]]:
        return asyncio.sleep  # the server's clock decides

    async def test_scripts_are_loaded_again(self, store: RedisOutcomes, redis_server: RedisServer) -> None:
        await self._granted(store, claim(new_job_id()))
        async with aioredis.Redis.from_url(redis_server.url) as client:
            await client.script_flush()
        await self._granted(store, claim(new_job_id()))

    async def test_records_expire_and_dead_letters_do_not(self, store: RedisOutcomes, redis_server: RedisServer) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await self.test_dropped_is_gone(store)
        async with aioredis.Redis.from_url(redis_server.url) as client:
            assert 0 < await client.ttl(f"headrace:job:{asked.job_id}") <= 60


async def test_stalled_or_killed_is_unavailable_until_it_is_back(own_redis: RedisServer) -> None:
    store = RedisOutcomes(own_redis.url, Settings(store_timeout=0.3), SystemClock())
    await store.open()
    asked = claim(new_job_id())
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.claim([asked]), 5)
    own_redis.cont()
    assert [a.verdict for a in await store.claim([asked])] == ["granted"], "the first claim may have been written: same token"
    await asyncio.to_thread(own_redis.kill)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await asyncio.to_thread(own_redis.start)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await store.renew([asked]) == [True]
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)  # still loading its file
    await store.close()


async def test_a_full_server_is_unavailable(own_redis: RedisServer) -> None:
    store = RedisOutcomes(own_redis.url, Settings(), SystemClock())
    async with aioredis.Redis.from_url(own_redis.url) as client:
        await client.config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        await store.claim([claim(new_job_id())])
    await store.close()


class TestJournal(JournalContract):
    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()  # the server's clock decides

    @pytest.fixture
    async def journal(self, redis_server: RedisServer) -> AsyncIterator[RedisJournal]:
        async with aioredis.Redis.from_url(redis_server.url) as client:
            await client.flushall()
        journal = RedisJournal(redis_server.url, SETTINGS)
        await journal.open()
        yield journal
        await journal.close()

    async def test_what_is_old_goes_with_the_next_append_and_all_goes_once_nothing_comes(
        self, journal: RedisJournal, redis_server: RedisServer, clock: SystemClock
    ) -> None:
        async with aioredis.Redis.from_url(redis_server.url) as client:
            for age in (AGE + 10, AGE + 5, AGE / 2):
                entry = {"record": to_text(record("email", clock.wall() - age, int(age)))}
                await client.xadd("headrace:journal:email", entry, id=f"{int((clock.wall() - age) * 1000)}-0")
            await journal.append([record("email", clock.wall(), 1)])
            assert [r.wanted for r in await journal.tail("email", 9)] == [int(AGE / 2), 1]
            assert 0 < await client.ttl("headrace:journal:email") <= AGE
            await journal.remember({"email": "{}"})
            assert 0 < await client.ttl("headrace:controller:state:email") <= AGE

    async def test_a_state_tells_how_old_it_is(self, journal: RedisJournal, redis_server: RedisServer) -> None:
        await journal.remember({"email": "{}"})
        async with aioredis.Redis.from_url(redis_server.url) as client:
            await client.pexpire("headrace:controller:state:email", int((AGE - 42) * 1000))  # as it is 42 s later
        kept = await journal.recall("email")
        assert kept is not None
        assert 42.0 <= kept[1] < AGE


async def test_a_journal_that_is_stalled_or_killed_is_away_until_it_is_back(own_redis: RedisServer) -> None:
    journal, now = RedisJournal(own_redis.url, SETTINGS), SystemClock().wall()
    await journal.open()
    await journal.append([record("email", now, 1)])
    for take_away, give_back in ((own_redis.stop, own_redis.cont), (own_redis.kill, own_redis.start)):
        await asyncio.to_thread(take_away)
        async with asyncio.timeout(20):  # a bound: each takes at most two store timeouts
            for asked in (
                journal.open(),
                journal.latest(),
                journal.tail("email", 5),
                journal.append([record("email", now + 1, 2)]),
                journal.remember({"email": "{}"}),
                journal.recall("email"),
            ):
                with pytest.raises(StoreUnavailable):
                    await asked
        await asyncio.to_thread(give_back)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await journal.tail("email", 5))[0].wanted == 1
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)  # still loading its file
    await journal.close()
