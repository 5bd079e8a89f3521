"""A job delayed for a queue that is deleted meanwhile ends as a dead letter, or in its queue, and stops no other job's delay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import aiormq
import pytest

from adapters.rabbitmq import RabbitMQ
from adapters.sqlite import SqliteOutcomes
from consumer.ledger import Ledger
from consumer.lost import Lost
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.settings import ConsumerSettings
from consumer.way import Tools
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.envelope import Envelope
from core.errors import BrokerUnavailable
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import Message
from core.settings import Settings
from core.topology import Topology
from tests.contract.broker_suite import Inbox, message, publish, subscribed, until_depth
from tests.servers.rabbitmq import RabbitMQServer

# RabbitMQ's dead-letter worker waits once 32 messages cannot be sent on (rabbit, dead_letter_worker_consumer_prefetch).
MANY = 40
BEFORE = Topology({"a.happened": ("old",), "b.happened": ("one",)})
NOW = Topology({"b.happened": ("one",)})


@asynccontextmanager
async def opened(url: str, topology: Topology) -> AsyncIterator[RabbitMQ]:
    broker = RabbitMQ(url, topology, Settings(connect_timeout=20), SystemClock())
    await broker.open()
    assert broker.unready() is None
    yield broker
    await broker.close()


@asynccontextmanager
async def working(broker: RabbitMQ, queues: tuple[str, ...]) -> AsyncIterator[SqliteOutcomes]:
    """A process that works off what was lost; its store."""
    settings, clock = ConsumerSettings(broker="memory:", outcomes="memory:"), SystemClock()
    store = SqliteOutcomes(":memory:", settings, clock)
    ledger = Ledger(store, lease=settings.claim_lease, give_up=None)
    await ledger.open()
    async with Resources({}, set()) as resources:
        tools = Tools(settings, Registry(Catalogue([]), []), resources, _no_threads, clock)
        lost = Lost(broker.lost, queues, broker, ledger, tools)
        await lost.start()
        yield store
        await lost.drain(5.0)
    await ledger.close()


def _no_threads(*_: object) -> NoReturn:
    raise AssertionError("nothing runs")


def retries(count: int, delay: float) -> list[Message]:
    def one() -> Message:
        envelope = Envelope(new_job_id(), "a.happened", 1.0, attempt=2)
        return Message(envelope.job_id, "a.happened", envelope.headers(), b"{}", queue="old", delay=delay)

    return [one() for _ in range(count)]


async def deleted(url: str, queue: str) -> None:
    connection = await aiormq.connect(url)
    await (await connection.channel()).queue_delete(queue)
    await connection.close()


async def until(what: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await what():
            await asyncio.sleep(0.1)


async def test_what_is_delayed_for_a_queue_that_was_given_up_and_deleted_becomes_dead_letters(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url, BEFORE) as before:
        await publish(before, *retries(MANY, 2.0))
    async with opened(url, NOW) as broker:
        await deleted(url, "old")
        await until_depth(broker, broker.lost, MANY)
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 5, inbox)
        await publish(broker, message("retry", queue="one", delay=1.0))
        assert (await inbox.wait_for(1))[0].headers["cloudEvents_id"] == "retry", "no other's delay is stopped"
        async with working(broker, NOW.queues) as store:
            await until(lambda: _count(store, MANY))
            letters = (await store.dead_letters(limit=100)).items
            assert {(letter.queue, letter.reason, letter.job_type) for letter in letters} == {
                ("old", Reason.NO_QUEUE, "a.happened")
            }
            job = await store.job(letters[0].job_id or "")
            assert job is not None
            assert [(d.queue, d.state, d.attempts) for d in job.deliveries] == [("old", State.DEAD, 2)]
        await until_depth(broker, broker.lost, 0)
        await subscription.close()


async def test_what_is_delayed_for_a_queue_that_is_there_again_goes_into_it(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url, BEFORE) as broker:
        await publish(broker, *retries(3, 2.0))
        await deleted(url, "old")
        async with working(broker, BEFORE.queues) as store:
            await until(lambda: _in(broker, "old", 3))
            assert not (await store.dead_letters()).items
        await until_depth(broker, broker.lost, 0)


@pytest.mark.parametrize("headers", [{}, {"headrace-version": "9"}])
async def test_what_has_no_envelope_is_buried_with_its_bytes(rabbitmq: RabbitMQServer, headers: dict[str, str]) -> None:
    url = rabbitmq.vhost()
    async with opened(url, BEFORE) as before:
        await publish(before, Message("", "", headers, b"\x00junk", queue="old", delay=1.0))
    async with opened(url, NOW) as broker, working(broker, NOW.queues) as store:
        await deleted(url, "old")
        await until(lambda: _count(store, 1))
        (letter,) = (await store.dead_letters()).items
        assert (letter.queue, letter.reason, letter.body) == ("old", Reason.NO_QUEUE, b"\x00junk")


async def _in(broker: RabbitMQ, queue: str, count: int) -> bool:
    try:
        return (await broker.depth(queue)).ready == count
    except BrokerUnavailable:  # it is not there yet
        return False


async def _count(store: SqliteOutcomes, count: int) -> bool:
    return len((await store.dead_letters(limit=100)).items) == count
