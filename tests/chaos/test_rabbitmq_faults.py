"""RabbitMQ killed, stalled and blocked: nothing that was confirmed is lost, and everything recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq

from jobs.adapters.rabbitmq import RabbitMQ
from jobs.clock import SystemClock
from jobs.errors import BrokerError, BrokerUnavailable, PublishTimeout
from jobs.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, publish, subscribed, until
from tests.servers.rabbitmq import RabbitMQServer


@asynccontextmanager
async def opened(url: str, publish_timeout: float = 2.0) -> AsyncIterator[RabbitMQ]:
    broker = RabbitMQ(url, TOPOLOGY, Settings(publish_timeout=publish_timeout, connect_timeout=15), SystemClock())
    await broker.open()
    try:
        assert broker.unready() is None
        yield broker
    finally:
        await broker.close()


async def test_killed_while_publishing_loses_nothing_that_was_confirmed(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url) as broker:
        confirmed: set[str] = set()

        async def pour() -> None:
            for n in range(2000):
                names = [f"{n}-{i}" for i in range(5)]
                for name, future in zip(names, broker.publish([message(j) for j in names]), strict=True):
                    future.add_done_callback(lambda f, j=name: confirmed.add(j) if not f.exception() else None)
                await asyncio.sleep(0.001)

        pouring = asyncio.create_task(pour())
        await until(lambda: len(confirmed) > 200)
        await asyncio.to_thread(own_rabbitmq.kill)
        await pouring
        await until(lambda: broker.unready() is not None)
        await asyncio.to_thread(own_rabbitmq.start)
        await until(lambda: broker.unready() is None, within=30)
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 5000, inbox)
        await until(lambda: confirmed <= {d.headers["cloudEvents_id"] for d in inbox.got}, within=20)
        await subscription.close()


async def test_a_consumer_takes_up_again_after_a_restart(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url) as broker:
        await publish(broker, message("held"))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 10, inbox)
        (before,) = await inbox.wait_for(1)
        await asyncio.to_thread(own_rabbitmq.kill)
        await until(lambda: not subscription.active)
        subscription.ack(before)  # on a dead channel: does nothing
        await asyncio.to_thread(own_rabbitmq.start)
        again = (await inbox.wait_for(2, within=40))[1]
        assert again.headers["cloudEvents_id"] == "held"
        subscription.ack(again)
        await subscription.close()


async def test_stalled_fails_within_the_timeout_and_recovers(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url, publish_timeout=1.0) as broker:
        own_rabbitmq.stop()
        futures = broker.publish([message("1"), message("2")])
        results = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 5)
        assert all(isinstance(r, PublishTimeout) for r in results)
        assert broker.unready() is not None
        own_rabbitmq.cont()
        await until(lambda: broker.unready() is None, within=30)
        await publish(broker, message("3"))


async def test_blocked_by_an_alarm_is_refused_at_once_and_recovers(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url) as broker:
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.000001")
        await asyncio.gather(*broker.publish([message()]), return_exceptions=True)  # the broker blocks who publishes
        await until(lambda: "alarm" in (broker.unready() or ""))
        (refused,) = await asyncio.gather(*broker.publish([message()]), return_exceptions=True)
        assert isinstance(refused, BrokerUnavailable)
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.6")
        await until(lambda: broker.unready() is None, within=20)
        await publish(broker, message())


async def test_another_topology_is_told_and_mended(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_declare("one", durable=True)
    broker = RabbitMQ(url, TOPOLOGY, Settings(), SystemClock())
    await broker.open()
    assert "delete it" in (broker.unready() or "")
    assert "'one'" in (broker.unready() or "")
    (refused,) = await asyncio.gather(*broker.publish([message()]), return_exceptions=True)
    assert isinstance(refused, BrokerError)
    await channel.queue_delete("one")
    await until(lambda: broker.unready() is None, within=30)
    await publish(broker, message())
    await connection.close()
    await broker.close()


async def test_a_deleted_queue_is_consumed_again_once_it_is_back(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url) as broker:
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 10, inbox)
        connection = await aiormq.connect(url)
        channel = await connection.channel()
        await channel.queue_delete("one")
        await until(lambda: not subscription.active)
        other = RabbitMQ(url, TOPOLOGY, Settings(connect_timeout=15), SystemClock())
        await other.open()  # declares it anew
        await publish(other, message("after"))
        assert (await inbox.wait_for(1, within=20))[0].headers["cloudEvents_id"] == "after"
        await subscription.close()
        await other.close()
        await connection.close()
