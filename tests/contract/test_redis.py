"""Redis, on real servers: one, a cluster, and one that Sentinels watch. Faults are in `test_redis_faults.py` and
`test_redis_failover.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio as aioredis
from redis.typing import EncodableT

from adapters.journal_text import to_text
from adapters.redis import RedisJournal, RedisOutcomes
from core.clock import SystemClock
from core.identity import new_job_id
from core.settings import Settings
from tests.contract.journal_suite import AGE, SETTINGS, JournalContract, record
from tests.contract.outcomes_suite import OutcomesContract, claim, letter
from tests.servers.redis import RedisCluster, RedisServer, RedisWithSentinels

pytestmark = pytest.mark.needs("redis")  # the fixtures ask for their servers by name
Servers = tuple[str, list[RedisServer]]  # a URL, and where the keys are


@pytest.fixture(params=["single", "cluster", "sentinel"])
def servers(request: pytest.FixtureRequest) -> Servers:
    """Emptied."""
    match request.param:
        case "cluster":
            cluster: RedisCluster = request.getfixturevalue("redis_cluster")
            found = cluster.url, cluster.primaries()
        case "sentinel":
            sentinels: RedisWithSentinels = request.getfixturevalue("redis_sentinels")
            found = sentinels.url, [sentinels.primary]
        case _:
            single: RedisServer = request.getfixturevalue("redis_server")
            found = single.url, [single]
    for server in found[1]:
        server.ask("FLUSHALL")
    return found


class TestOutcomes(OutcomesContract):
    @pytest.fixture
    async def store(self, servers: Servers) -> AsyncIterator[RedisOutcomes]:
        store = RedisOutcomes(servers[0], Settings(retention=60), SystemClock())
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def pass_time(self) -> Callable[[float], Awaitable[None]]:
        return asyncio.sleep  # the server's clock decides

    @pytest.fixture
    def forget_old(self, servers: Servers) -> Callable[[float], Awaitable[None]]:
        async def shorten(seconds: float) -> None:
            for server in servers[1]:
                async with aioredis.Redis(port=server.port) as client:
                    async for key in client.scan_iter("headrace:*"):
                        if (left := await client.pttl(key)) >= 0:
                            await client.pexpire(key, left - round(seconds * 1000))

        return shorten

    async def test_scripts_are_loaded_again(self, store: RedisOutcomes, servers: Servers) -> None:
        await self._granted(store, claim(new_job_id()))
        for server in servers[1]:
            server.ask("SCRIPT", "FLUSH")
        await self._granted(store, claim(new_job_id()))
        assert {a.verdict for a in await store.claim([claim(new_job_id()) for _ in range(20)])} == {"granted"}

    async def test_records_expire_and_dead_letters_do_not(self, store: RedisOutcomes, servers: Servers) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await store.bury([letter("d1")])
        left = {key: server.ask("TTL", key) for server in servers[1] for key in server.ask("KEYS", "headrace:*")}
        kept = {key for key, seconds in left.items() if seconds == -1}
        assert {key.partition(":")[2].partition(":")[0] for key in kept} == {"dead"}
        assert all(0 < seconds <= 60 for key, seconds in left.items() if key not in kept)


class TestJournal(JournalContract):
    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()  # the server's clock decides

    @pytest.fixture
    async def journal(self, servers: Servers) -> AsyncIterator[RedisJournal]:
        journal = RedisJournal(servers[0], SETTINGS)
        await journal.open()
        yield journal
        await journal.close()


@pytest.fixture
async def journal(redis_server: RedisServer) -> AsyncIterator[RedisJournal]:
    redis_server.ask("FLUSHALL")
    journal = RedisJournal(redis_server.url, SETTINGS)
    yield journal
    await journal.close()


async def test_what_is_old_goes_with_the_next_append_and_all_goes_once_nothing_comes(
    journal: RedisJournal, redis_server: RedisServer
) -> None:
    clock = SystemClock()
    async with aioredis.Redis.from_url(redis_server.url) as client:
        for age in (AGE + 10, AGE + 5, AGE / 2):
            entry: dict[EncodableT, EncodableT] = {"record": to_text(record("email", clock.wall() - age, int(age)))}
            await client.xadd("headrace:journal:email", entry, id=f"{int((clock.wall() - age) * 1000)}-0")
        await journal.append([record("email", clock.wall(), 1)])
        assert [r.wanted for r in await journal.tail("email", 9)] == [int(AGE / 2), 1]
        assert 0 < await client.ttl("headrace:journal:email") <= AGE
        await journal.remember({"email": "{}"})
        assert 0 < await client.ttl("headrace:controller:state:email") <= AGE


async def test_a_state_tells_how_old_it_is(journal: RedisJournal, redis_server: RedisServer) -> None:
    await journal.remember({"email": "{}"})
    redis_server.ask("PEXPIRE", "headrace:controller:state:email", str(int((AGE - 42) * 1000)))  # as it is 42 s later
    kept = await journal.recall("email")
    assert kept is not None
    assert 42.0 <= kept[1] < AGE
