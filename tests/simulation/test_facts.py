"""Facts of real servers that the contract suites do not hold, seen on the real ones and on the simulated ones by the same code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import redis.asyncio as aioredis

from adapters.redis import RedisOutcomes
from adapters.simulated import BrokerServer, SimulatedOutcomes, StoreServer
from adapters.simulated.letters import Letters
from adapters.simulated.store import Memory
from core.chance import SeededChance
from core.clock import ManualClock, SystemClock
from core.errors import StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import OutcomeStore
from core.settings import Settings
from tests.contract.broker_suite import until
from tests.contract.outcomes_suite import claim, outcome
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer
from tests.simulation.peers import LIMIT, AMQPError, Peer, RealPeer, SimulatedPeer

Connect = Callable[[], Awaitable[Peer]]


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.needs("rabbitmq")), "simulated"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Peers of one new queue."""
    peers: list[Peer] = []
    if request.param == "real":
        url = request.getfixturevalue("rabbitmq").vhost()
    server = BrokerServer(SeededChance(1, ManualClock()))

    async def another() -> Peer:
        peers.append(await (RealPeer().connect(url) if request.param == "real" else SimulatedPeer(server).connect()))
        return peers[-1]

    yield another
    for peer in peers:
        await peer.lose()
    await asyncio.sleep(0.1)  # the simulated ones learn of it a moment later


async def _given(peer: Peer, count: int) -> list[str]:
    """The names of all that it was given: exactly `count`, a moment later too."""
    await until(lambda: len(peer.given) >= count)
    await asyncio.sleep(0.3)
    assert len(peer.given) == count
    return [name for _, name, _ in peer.given]


async def test_each_consumer_of_a_channel_has_a_prefetch_of_its_own(connect: Connect) -> None:
    """The unacked deliveries of a cancelled consumer do not count: a new subscription is given a whole prefetch again."""
    peer = await connect()
    await peer.publish(*"abcdefgh")
    first = await peer.consume(2)
    await _given(peer, 2)
    await peer.cancel(first)
    await peer.consume(2)
    assert await _given(peer, 4) == [*"abcd"]


async def test_the_count_rises_with_each_return_and_not_with_a_cancelled_consumer(connect: Connect) -> None:
    peer = await connect()
    await peer.publish("a")
    consumer = await peer.consume(1)
    await _given(peer, 1)
    await peer.cancel(consumer)
    await peer.settle("back", peer.given[0][0])
    await peer.consume(1)
    await _given(peer, 2)
    await peer.lose()
    other = await connect()
    await other.consume(1)
    await _given(other, 1)
    assert [count for _, _, count in (*peer.given, *other.given)] == [0, 1, 2]


async def test_what_came_back_too_often_is_gone_from_the_queue(connect: Connect) -> None:
    peer = await connect()
    await peer.publish("a")
    await peer.consume(1)
    for time in range(LIMIT + 1):
        await _given(peer, time + 1)
        await peer.settle("back", peer.given[time][0])
    await _given(peer, LIMIT + 1)


async def test_what_came_back_goes_before_what_never_went(connect: Connect) -> None:
    peer = await connect()
    await peer.publish(*"abcdef")
    await peer.consume(3)
    await _given(peer, 3)
    await peer.settle("back", peer.given[1][0])
    assert await _given(peer, 4) == [*"abcb"]


async def test_what_a_lost_connection_held_comes_in_the_old_order(connect: Connect) -> None:
    peer = await connect()
    await peer.publish(*"abcdef")
    await peer.consume(3)
    await _given(peer, 3)
    await peer.lose()
    other = await connect()
    await other.consume(6)
    assert await _given(other, 6) == [*"abcdef"]


async def test_confirms_of_a_burst_are_of_several_at_once(connect: Connect) -> None:
    peer = await connect()
    await peer.publish(*(str(n) for n in range(300)))
    confirmed: set[int] = set()

    def all_confirmed() -> bool:
        confirmed.clear()
        for _, tag, multiple in peer.told:
            confirmed.update(range(1, tag + 1) if multiple else [tag])
        return len(confirmed) == 300

    await until(all_confirmed)
    assert any(multiple for _, _, multiple in peer.told)
    assert len(peer.told) < 300


async def test_what_cannot_be_routed_is_returned_before_its_confirm(connect: Connect) -> None:
    peer = await connect()
    await peer.publish("lost", to="nowhere")
    await until(lambda: len(peer.told) == 2)
    assert [told[:2] for told in peer.told] == [("return",), ("ack", 1)]


async def test_an_unknown_tag_costs_the_channel_and_what_it_holds_comes_back(connect: Connect) -> None:
    peer = await connect()
    await peer.publish("a")
    await peer.consume(5)
    await _given(peer, 1)
    await peer.settle("ack", 99)
    await until(lambda: peer.closed)
    other = await connect()
    await other.consume(5)
    assert await _given(other, 1) == ["a"]
    assert other.given[0][2] == 1


# ------------------------------------------------------------------------------------------------------ killed servers


@dataclass
class Killable:
    """A server: how a peer connects to it, and how it is killed and started."""

    connect: Connect
    kill: Callable[[], Awaitable[None]]


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.needs("rabbitmq")), "simulated"])
async def killable(request: pytest.FixtureRequest) -> Killable:
    if request.param == "real":
        real: RabbitMQServer = request.getfixturevalue("own_rabbitmq")

        async def restarted() -> None:
            await asyncio.to_thread(real.kill)
            await asyncio.to_thread(real.start)

        return Killable(lambda: RealPeer().connect(real.url), restarted)
    server = BrokerServer(SeededChance(1, ManualClock()))

    async def restart() -> None:
        server.kill()
        server.start()

    return Killable(lambda: SimulatedPeer(server).connect(), restart)


async def _left_after_a_kill(killable: Killable, age: float, count: int) -> list[str]:
    """The messages left in a queue, of one message that was confirmed when it was `age` s old; `count` of it are expected."""
    peer = await killable.connect()
    await asyncio.sleep(age)
    await peer.publish("a")
    await until(lambda: peer.told == [("ack", 1, False)])
    await killable.kill()
    await peer.lose()
    other = await _consuming(killable.connect)
    left = await _given(other, count)
    await other.lose()
    return left


async def test_what_a_queue_of_4_s_has_confirmed_outlives_a_kill(killable: Killable) -> None:
    assert await _left_after_a_kill(killable, 4.0, 1) == ["a"]


@pytest.mark.parametrize("killable", ["simulated"], indirect=True)
async def test_what_a_new_queue_has_confirmed_does_not(killable: Killable) -> None:
    """Which is why nothing is published at first (`HEADRACE_NEW_QUEUE_PAUSE`). The real one lost 8 of 8 so, and is then without a
    leader for a minute, in which it cannot be read."""
    assert await _left_after_a_kill(killable, 0.0, 0) == []


async def _consuming(connect: Connect) -> Peer:
    """A server that has just started answers with errors for a while."""
    async with asyncio.timeout(60):
        while True:
            try:
                peer = await connect()
                await peer.consume(5)
            except (AMQPError, OSError):
                await asyncio.sleep(0.5)
            else:
                return peer


# -------------------------------------------------------------------------------------------------------------- stores


@dataclass
class Forgetful:
    store: OutcomeStore
    restart: Callable[[], Awaitable[None]]


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.needs("redis")), "simulated"])
async def forgetful(request: pytest.FixtureRequest) -> AsyncIterator[Forgetful]:
    """A store that begins again without what was written since it stopped writing things down."""
    if request.param == "real":
        real: RedisServer = request.getfixturevalue("own_redis")
        async with aioredis.Redis.from_url(real.url) as client:
            await client.config_set("appendonly", "no")
        store: OutcomeStore = RedisOutcomes(real.url, Settings(retention=60), SystemClock())

        async def restart() -> None:
            await asyncio.to_thread(real.kill)
            await asyncio.to_thread(real.start)
    else:
        clock = ManualClock()
        server = StoreServer(SeededChance(1, clock), clock, retention=60.0)
        store = SimulatedOutcomes(server, "test", 2.0)

        async def restart() -> None:
            server.become(Memory({}, {}, Letters()))

    await store.open()
    yield Forgetful(store, restart)
    await store.close()


async def test_what_a_restarted_store_has_forgotten_is_written_anew(forgetful: Forgetful) -> None:
    store, asked = forgetful.store, claim(new_job_id())
    assert (await store.claim([asked]))[0].verdict.ours
    await forgetful.restart()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await store.job(asked.job_id) is None
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
    assert await store.renew([asked]) == [True]
    assert await store.settle([outcome(asked, State.SUCCEEDED)]) == [True]
