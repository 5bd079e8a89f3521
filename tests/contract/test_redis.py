"""Redis, on a real server, and with it stalled and killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from jobs.adapters.redis import RedisOutcomes
from jobs.clock import SystemClock
from jobs.errors import StoreUnavailable
from jobs.identity import new_job_id
from jobs.settings import Settings
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
