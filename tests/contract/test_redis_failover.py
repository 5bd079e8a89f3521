"""A primary is killed and its replica takes over, on a cluster and under Sentinel: unavailable for a while, then back; writes
that the replica never had are forgotten, and handled as such."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import pytest
from redis.exceptions import MovedError

from adapters.redis import RedisJournal, RedisOutcomes
from adapters.redis.keys import ClusterKeys
from core.clock import SystemClock
from core.errors import StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import Claim
from core.settings import Settings
from tests.contract.journal_suite import record
from tests.contract.outcomes_suite import claim, letter, outcome
from tests.servers.redis import RedisCluster, RedisServer, RedisWithSentinels, role, until

pytestmark = pytest.mark.needs("redis")  # `pair` asks for its servers by name
T = TypeVar("T")
SETTINGS = Settings(store_timeout=1.0)


class Pair(NamedTuple):
    url: str
    primary: RedisServer
    replica: RedisServer
    alive: str  # the text that is in the key of a job whose slot the primary has


@pytest.fixture(params=["cluster", "sentinel"])
def pair(request: pytest.FixtureRequest) -> Pair:
    if request.param == "sentinel":
        servers: RedisWithSentinels = request.getfixturevalue("own_sentinels")
        return Pair(servers.url, servers.primary, servers.replica, "")
    cluster: RedisCluster = request.getfixturevalue("own_cluster")
    primary = cluster.primary_of("headrace:alive")
    url = f"redis+cluster://127.0.0.1:{primary.port}"  # the others are learned from it
    return Pair(url, primary, cluster.replica_of(primary), "cluster")


@pytest.fixture
async def store(pair: Pair) -> AsyncIterator[RedisOutcomes]:
    store = RedisOutcomes(pair.url, SETTINGS, SystemClock())
    await store.open()
    yield store
    await store.close()


def asked_of(server: RedisServer, pair: Pair) -> Claim:
    """A claim whose keys are on `server`."""
    while True:
        asked = replace(claim(new_job_id()), lease=120.0)
        if not pair.alive:
            return asked
        with contextlib.suppress(MovedError):
            server.ask("EXISTS", f"headrace:job:{{{asked.job_id}}}")
            return asked


async def eventually(ask: Callable[[], Awaitable[T]]) -> T:
    """Its result once the store is back; until then nothing but StoreUnavailable, and each within a bounded time."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncio.wait_for(ask(), 10)
            except StoreUnavailable:
                await asyncio.sleep(0.1)


async def test_a_replica_takes_over_and_what_it_never_had_is_written_anew(store: RedisOutcomes, pair: Pair) -> None:
    known, renewed, settled, dead = (asked_of(pair.primary, pair) for _ in range(4))
    assert (await store.claim([known]))[0].verdict == "granted"
    assert pair.primary.ask("WAIT", "1", "10000") == 1
    pair.replica.ask("CONFIG", "SET", "masteruser", "nobody", "masterauth", "wrong")
    pair.primary.ask("CLIENT", "KILL", "TYPE", "replica")
    until(lambda: not pair.primary.ask("WAIT", "1", "1"), "the replica is cut off")
    assert [a.verdict for a in await store.claim([renewed, settled, dead])] == ["granted"] * 3
    await asyncio.to_thread(pair.primary.kill)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.renew([known]), 10)

    assert await eventually(lambda: store.renew([known, renewed])) == [True, True]
    for asked in (known, renewed):
        assert (await store.claim([replace(asked, token="t2")]))[0].verdict == "held"
    ended = [outcome(settled, State.SUCCEEDED), outcome(dead, State.DEAD, dead=letter("d1", job_id=dead.job_id))]
    assert await store.settle(ended) == [True, True]
    assert [item.dead_id for item in (await eventually(store.dead_letters)).items] == ["d1"]
    await store.ping()


async def test_a_primary_that_was_made_a_replica_is_left(own_sentinels: RedisWithSentinels) -> None:
    store = RedisOutcomes(own_sentinels.url, SETTINGS, SystemClock())
    asked = replace(claim(new_job_id()), lease=120.0)
    assert (await store.claim([asked]))[0].verdict == "granted"
    own_sentinels.sentinels[0].ask("SENTINEL", "FAILOVER", "headrace")
    until(lambda: role(own_sentinels.replica) == "master", "it is the primary")
    until(lambda: role(own_sentinels.primary) == "slave", "the former one is a replica")
    assert await eventually(lambda: store.renew([asked])) == [True]
    assert await eventually(lambda: store.settle([outcome(asked, State.SUCCEEDED)])) == [True]
    assert own_sentinels.replica.ask("HGET", f"headrace:job:{asked.job_id}", "type") == asked.job_type
    await store.close()


async def test_the_journal_goes_on_after_a_takeover(pair: Pair) -> None:
    journal, now = RedisJournal(pair.url, SETTINGS), SystemClock().wall()
    await journal.open()
    await journal.append([record("email", now, 1), record("points", now, 2)])
    await asyncio.to_thread(pair.primary.kill)
    await eventually(lambda: journal.append([record("email", now + 1, 3), record("points", now + 1, 4)]))
    assert [r.wanted for r in await eventually(journal.latest)] == [3, 4]
    assert (await eventually(lambda: journal.tail("email", 1)))[0].wanted == 3
    await journal.close()


async def test_a_cluster_whose_slots_nobody_serves_is_away(own_cluster: RedisCluster) -> None:
    store = RedisOutcomes(own_cluster.url, SETTINGS, SystemClock())
    await store.open()
    first, *_, gone = sorted(own_cluster.primaries(), key=own_cluster.first_slot)
    job = _job_on(first)  # before: a cluster that is down says so of every slot, also of those that are the dead server's
    await asyncio.to_thread(own_cluster.replica_of(gone).kill)
    await asyncio.to_thread(gone.kill)
    until(lambda: first.ask("CLUSTER INFO")["cluster_state"] == "fail", "the cluster is down")
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.ping(), 10)
    async with asyncio.timeout(30):
        while True:  # a connection that has died is found out by a command
            with pytest.raises(StoreUnavailable) as told:
                await asyncio.wait_for(store.job(job), 10)
            if "slots that nobody serves" in str(told.value):
                break
    await store.close()


async def test_the_first_server_of_the_map_is_dead_and_the_others_serve(own_cluster: RedisCluster) -> None:
    """redis-py asks the first primary of the map, whichever it is, for the table of commands. And a store that has only a part of
    the jobs is unavailable, whatever server has the key that the ping writes."""
    for node in own_cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    pinged, primaries = own_cluster.primary_of(ClusterKeys().alive), own_cluster.primaries()
    ways = [(own_cluster.first_listed(node), node) for node in own_cluster.nodes] + [(one, pinged) for one in primaries]
    gone, asked = next(way for way in ways if way[0] is not pinged and way[1] not in (way[0], own_cluster.replica_of(way[0])))
    replica = own_cluster.replica_of(gone)
    for server in (replica, gone):
        await asyncio.to_thread(server.kill)
    until(lambda: asked.ask("CLUSTER INFO")["cluster_slots_fail"] != "0", "it is known to be dead")
    alive = next(node for node in primaries if node is not gone)
    store = RedisOutcomes(f"redis+cluster://127.0.0.1:{asked.port}", SETTINGS, SystemClock())
    assert await store.job(_job_on(alive)) is None
    with pytest.raises(StoreUnavailable, match="slots of the cluster are served by nobody"):
        await store.ping()
    await asyncio.to_thread(gone.start)
    await eventually(store.ping)
    await store.close()


def _job_on(server: RedisServer) -> str:
    """A job whose slot is the server's."""
    while True:
        job = new_job_id()
        try:
            server.ask("EXISTS", f"headrace:job:{{{job}}}")
        except MovedError:
            continue
        return job


async def test_a_slot_that_is_moved_is_away_only_for_what_is_in_both_places(own_cluster: RedisCluster) -> None:
    store = RedisOutcomes(own_cluster.url, SETTINGS, SystemClock())
    await store.open()
    asked = claim(new_job_id())
    assert (await store.claim([asked]))[0].verdict == "granted"
    key = f"headrace:job:{{{asked.job_id}}}"
    source = own_cluster.primary_of(key)
    target = next(node for node in own_cluster.primaries() if node is not source)
    slot, names = str(source.ask("CLUSTER", "KEYSLOT", key)), [str(node.ask("CLUSTER", "MYID")) for node in (source, target)]
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
    ended = outcome(asked, State.DEAD, dead=letter("d1", job_id=asked.job_id))
    with pytest.raises(StoreUnavailable, match="a slot is being moved"):  # the job is here, and its letter is not
        await asyncio.wait_for(store.settle([ended]), 10)
    assert await store.renew([asked]) == [True]
    source.ask("MIGRATE", "127.0.0.1", str(target.port), key, "0", "5000")
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[1])
    assert await eventually(lambda: store.settle([ended])) == [True]
    assert await store.dead_letter("d1") == ended.dead
    await store.close()


async def test_a_node_of_a_cluster_is_no_single_server(redis_cluster: RedisCluster) -> None:
    store = RedisOutcomes(redis_cluster.nodes[0].url, SETTINGS, SystemClock())
    with pytest.raises(StoreUnavailable, match=r"Use redis\+cluster://"):
        await store.claim([claim(new_job_id()) for _ in range(50)])
    await store.close()
