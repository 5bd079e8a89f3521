"""A close, a deletion or strange bytes by the broker cost one channel or one message, and the system recovers by itself."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from pamqp import commands, frame
from pamqp.body import ContentBody
from prometheus_client import REGISTRY

from adapters.rabbitmq import RabbitMQ
from core.clock import SystemClock
from core.errors import BrokerError, BrokerUnavailable, PublishTimeout, TooLarge, Unroutable
from core.settings import Settings
from core.topology import dead_queue
from telemetry.reasons import public
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, publish, subscribed, until, until_depth
from tests.servers.rabbitmq import RabbitMQServer


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[RabbitMQ]:
    broker = RabbitMQ(url, TOPOLOGY, Settings(connect_timeout=15, **settings), SystemClock())
    await broker.open()
    try:
        assert broker.unready() is None
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def operator(url: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """Somebody else's channel."""
    connection = await aiormq.connect(url)
    yield await connection.channel()
    await connection.close()


async def outcomes(broker: RabbitMQ, *bodies: bytes) -> list[BaseException | None]:
    return await asyncio.gather(*broker.publish([message(body=body) for body in bodies]), return_exceptions=True)


async def confirmed_again(broker: RabbitMQ, job_type: str = "b.happened") -> None:
    """Publish until it is confirmed."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await broker.publish([message("again", job_type)])[0]
            except BrokerError:
                await asyncio.sleep(0.05)


async def _there(connection: aiormq.abc.AbstractConnection, queue: str) -> bool:
    """Asked by somebody else, so that our own program learns nothing of it."""
    channel = await connection.channel()
    try:
        await channel.queue_declare(queue, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


async def test_a_body_above_the_brokers_limit_fails_alone_and_from_then_on_before_it_is_sent(own_rabbitmq: RabbitMQServer) -> None:
    set_limit = "application:set_env(rabbit, max_message_size, 65536), persistent_term:put(max_message_size, 65536)."
    await asyncio.to_thread(own_rabbitmq.ctl, "eval", set_limit)
    async with opened(own_rabbitmq.url) as broker:
        connection = broker._publishing.connection
        small, large, behind = await outcomes(broker, b"{}", b"x" * 70_000, b"{}")
        assert small is None or isinstance(small, PublishTimeout)
        assert isinstance(large, TooLarge)
        assert (large.size, large.limit) == (70_000, 65_536)
        assert isinstance(behind, PublishTimeout)
        await confirmed_again(broker)
        small, large, behind = await outcomes(broker, b"{}", b"x" * 70_000, b"{}")
        assert (small, behind) == (None, None)
        assert isinstance(large, TooLarge)
        assert broker.unready() is None
        assert broker._publishing.connection is connection, "the connection stays"


async def test_a_limit_that_is_set_costs_no_channel(rabbitmq: RabbitMQServer) -> None:
    async with opened(rabbitmq.vhost(), max_message_size=1000) as broker:
        small, large = await outcomes(broker, b"x" * 1000, b"x" * 1001)
        assert small is None
        assert isinstance(large, TooLarge)


async def test_an_exchange_that_is_deleted_is_declared_anew_with_its_bindings(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url) as broker, operator(url) as other:
        connection = broker._publishing.connection
        await other.exchange_delete("jobs")
        (refused,) = await outcomes(broker, b"{}")
        assert isinstance(refused, PublishTimeout)
        assert "jobs" in str(refused)
        await confirmed_again(broker, "a.happened")
        for queue in ("one", "two"):
            await until_depth(broker, queue, 1)
        assert broker._publishing.connection is connection


async def test_a_permission_that_is_taken_refuses_what_needs_it_and_is_there_again_when_it_is_given_back(
    rabbitmq: RabbitMQServer,
) -> None:
    url = rabbitmq.vhost()
    async with opened(url) as broker:
        await asyncio.to_thread(rabbitmq.permit, url, write="^$")
        async with asyncio.timeout(30):  # a channel forgets what it was permitted when it has been idle
            while not isinstance(refused := (await outcomes(broker, b"{}"))[0], BrokerError):
                await asyncio.sleep(2.0)
        assert "not allowed" in str(refused) or "refused" in str(refused), refused
        await until(lambda: broker.unready() is not None)
        await until(lambda: "refused" in (broker.unready() or ""))
        for _ in range(20):  # a channel can be opened all the same, and is looked at before it counts
            await asyncio.sleep(0.2)
            assert broker.unready() is not None
        assert "guest" not in public(broker.unready() or ""), "a probe's answer names no user"
        await asyncio.to_thread(rabbitmq.permit, url)
        await confirmed_again(broker)
        assert broker.unready() is None


async def test_a_queue_that_a_consumer_misses_is_declared_and_consumed_anew(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    before = REGISTRY.get_sample_value("headrace_queues_redeclared_total", {"queue": "one"}) or 0.0
    async with opened(url) as broker, operator(url) as other:
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 10, inbox)
        await other.queue_delete("one")
        await until(lambda: not subscription.active)
        await until(lambda: subscription.active)
        await confirmed_again(broker)
        assert (await inbox.wait_for(1))[0].headers["cloudEvents_id"] == "again"
        assert REGISTRY.get_sample_value("headrace_queues_redeclared_total", {"queue": "one"}) == before + 1
        await subscription.close()


async def test_a_queue_that_a_job_misses_is_declared_anew(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url) as broker, operator(url) as other:
        await other.queue_delete("one")
        with pytest.raises(Unroutable):
            await broker.publish([message()])[0]
        await confirmed_again(broker)


async def test_a_queue_of_several_that_nobody_misses_is_declared_anew_all_the_same(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url) as broker, operator(url) as other:
        await other.queue_delete("two")
        await publish(broker, message("x", "a.happened"))  # reaches `one`: the broker returns nothing
        async with asyncio.timeout(30):
            while not await _there(other.connection, "two"):
                await asyncio.sleep(0.2)
        await publish(broker, message("y", "a.happened"))
        await until_depth(broker, "two", 1)


async def test_nothing_goes_to_a_new_queue_before_the_broker_has_written_it_down(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url, new_queue_pause=2.0) as broker, operator(url) as other:
        await other.queue_delete("two")
        broker.look()
        await until(lambda: broker._outlet._fresh)
        held, sent = await asyncio.gather(
            *broker.publish([message("held", "a.happened"), message("sent")]), return_exceptions=True
        )  # fmt: skip
        assert isinstance(held, BrokerUnavailable)
        assert sent is None
        await confirmed_again(broker, "a.happened")
        await until_depth(broker, "two", 1)


@pytest.mark.parametrize("where", ["one", dead_queue("one")])
async def test_a_foreign_message_is_delivered_whatever_its_properties_are(rabbitmq: RabbitMQServer, where: str) -> None:
    url = rabbitmq.vhost()
    async with opened(url) as broker, operator(url) as other:
        inbox, innocent = Inbox(), Inbox()
        subscriptions = [await subscribed(broker, where, 10, inbox), await subscribed(broker, "two", 10, innocent)]
        connection = broker.consuming.connection
        table = b"\x05gr\xfc\xdfeS\x00\x00\x00\x06Kr\xfcger"
        properties = struct.pack(">I", len(table)) + table + b"\x0eBestellung-M\xfcl" + b"\x7f" + b"\xff" * 7
        header = struct.pack(">HHQH", 60, 0, 2, 1 << 13 | 1 << 7 | 1 << 6) + properties
        raw = frame.marshal(commands.Basic.Publish(routing_key=where), other.number)
        raw += struct.pack(">BHI", 2, other.number, len(header)) + header + b"\xce"
        raw += frame.marshal(ContentBody(b"{}"), other.number)
        other.connection.write_queue.put_nowait(ChannelFrame(payload=raw, should_close=False, drain_future=None))
        (delivery,) = await inbox.wait_for(1)
        assert delivery.body == b"{}"
        assert delivery.headers == {"gr\\xfc\\xdfe": "Kr\\xfcger"}
        subscriptions[0].ack(delivery)
        await publish(broker, message("x", "a.happened"))
        await innocent.wait_for(1)
        assert broker.consuming.connection is connection
        for subscription in subscriptions:
            await subscription.close()


@pytest.mark.cell
async def test_another_delivery_limit_alone_is_used_and_told(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    async with opened(url, delivery_limit=20) as broker:
        assert not [line for line in await broker.advice() if "delivery-limit" in line]
    async with opened(url) as broker:
        await publish(broker, message("x", "a.happened"))
        told = [line for line in await broker.advice() if "delivery-limit 20" in line]
        assert len(told) == 2, "each queue"
        assert "HEADRACE_DELIVERY_LIMIT is 1000" in told[0]


async def test_a_virtual_host_that_is_missing_is_named(rabbitmq: RabbitMQServer) -> None:
    broker = RabbitMQ(f"{rabbitmq.url}nowhere", TOPOLOGY, Settings(connect_timeout=2), SystemClock())
    await broker.open()
    reason = broker.unready() or ""
    assert "vhost nowhere not found" in reason
    assert "add_vhost" in reason
    assert "0x" not in reason
    with pytest.raises(BrokerUnavailable, match="nowhere"):
        await broker.advice()
    await broker.close()


async def _user(rabbitmq: RabbitMQServer, user: str, password: str, vhost: str, configure: str) -> str:
    """The URL of a new user in a virtual host; configure: what it may declare."""
    await asyncio.to_thread(rabbitmq.ctl, "add_user", user, password)
    await asyncio.to_thread(rabbitmq.ctl, "set_permissions", "-p", vhost, user, configure, ".*", ".*")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"amqp://{login}@127.0.0.1:{rabbitmq.port}/{quote(vhost, safe='')}"


async def test_special_characters_in_a_url_are_the_names_themselves(rabbitmq: RabbitMQServer) -> None:
    vhost = f"team/a b#1?x {uuid.uuid4().hex}"
    await asyncio.to_thread(rabbitmq.ctl, "add_vhost", vhost)
    url = await _user(rabbitmq, f"us@er/{uuid.uuid4().hex}", "p@ss/w#o:r?d%41+ &é", vhost, ".*")
    async with opened(url) as broker:
        await publish(broker, message())
        await until_depth(broker, "one", 1)


async def test_a_user_who_may_not_declare_is_told_and_comes_in_once_it_may(rabbitmq: RabbitMQServer) -> None:
    vhost, user = rabbitmq.vhost().rpartition("/")[2], uuid.uuid4().hex
    broker = RabbitMQ(await _user(rabbitmq, user, "s3cret", vhost, "^$"), TOPOLOGY, Settings(connect_timeout=3), SystemClock())
    await broker.open()
    await until(lambda: "ACCESS_REFUSED" in (broker.unready() or ""))
    reason = broker.unready() or ""
    assert user in reason
    assert "s3cret" not in reason
    await asyncio.to_thread(rabbitmq.ctl, "set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    await until(lambda: broker.unready() is None, within=30)
    await confirmed_again(broker)
    await broker.close()


async def test_postponing_while_nothing_can_be_published_fails_and_holds(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url, publish_timeout=1.0) as broker:
        await publish(broker, message())
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 10, inbox)
        (delivery,) = await inbox.wait_for(1)
        later = replace(message(), queue="one", delay=1.0)
        await broker._outlet.close()  # the consuming connection stays
        with pytest.raises(BrokerUnavailable):
            await subscription.postpone(delivery, later)
        assert delivery.tag[1] in delivery.tag[0].outstanding
        await subscription.close()


async def test_what_timed_out_leaves_no_mark_once_the_broker_answers_again(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url, publish_timeout=0.5) as broker:
        connection = broker._publishing.connection
        own_rabbitmq.stop()
        (late,) = await outcomes(broker, b"{}")
        assert isinstance(late, PublishTimeout)
        assert broker.unready() is not None
        own_rabbitmq.cont()
        await until(lambda: broker.unready() is None)
        assert broker._publishing.connection is connection
