"""RabbitMQ killed, stalled and blocked: nothing that was confirmed is lost, and everything recovers by itself."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq
import pytest

from adapters.rabbitmq import RabbitMQ, frames
from core.clock import SystemClock
from core.errors import BrokerError, BrokerUnavailable, PublishTimeout
from core.settings import Settings
from telemetry.supervisor import cancelled
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


@pytest.mark.cell
async def test_killed_while_publishing_loses_nothing_that_was_confirmed(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url) as broker:
        confirmed: set[str] = set()

        def keep(name: str, future: asyncio.Future[None]) -> None:
            if not future.exception():
                confirmed.add(name)

        async def pour() -> None:
            for n in range(2000):
                names = [f"{n}-{i}" for i in range(5)]
                for name, future in zip(names, broker.publish([message(j) for j in names]), strict=True):
                    future.add_done_callback(functools.partial(keep, name))
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


@pytest.mark.cell
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


@pytest.mark.cell
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


class LastWords:
    """A way to the broker. Once `words` are given, they go to us in the place of the broker's next answer, and that is the end."""

    def __init__(self, port: int) -> None:
        self.words = b""
        self.port = 0
        self._there = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LastWords:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._serving)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._there)
        asking = asyncio.create_task(self._pass_on(reader, to_broker))
        with contextlib.suppress(OSError):
            while data := await from_broker.read(65_536):
                words, self.words = self.words, b""
                writer.write(words or data)
                if words:
                    break
                await writer.drain()
        await cancelled(asking)
        for end in (writer, to_broker):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()


async def test_an_end_right_behind_a_burst_of_confirms_ends_no_link(rabbitmq: RabbitMQServer) -> None:
    """The connection's own question to the broker, one a second, is then without its answer."""
    url = rabbitmq.vhost()
    async with LastWords(rabbitmq.port) as way, opened(url.replace(f":{rabbitmq.port}/", f":{way.port}/")) as broker:

        def replaced(connection: object) -> bool:
            return broker._publishing.connection is not connection

        for _ in range(3):
            publisher, connection = broker._outlet._publisher, broker._publishing.connection
            assert publisher is not None
            number = publisher._channel.number
            way.words = b"".join(frames.ack(number, 10_000 + n, multiple=False) for n in range(40))
            await until(functools.partial(replaced, connection))
            await until(lambda: broker.unready() is None, within=30)
            await publish(broker, message())


async def test_a_stall_while_a_subscription_is_changed_ends_no_consumer(own_rabbitmq: RabbitMQServer) -> None:
    async with opened(own_rabbitmq.url) as broker:
        paused, resumed = Inbox(), Inbox()
        pausing = await subscribed(broker, "one", 10, paused)
        resuming = broker.subscribe("two", 10, resumed)
        connection = broker.consuming.connection
        own_rabbitmq.stop()
        changes = asyncio.gather(pausing.pause(), resuming.resume())
        await until(lambda: broker.consuming.connection is not connection, within=60)  # given up by us
        own_rabbitmq.cont()
        await changes
        await pausing.resume()
        await until(lambda: pausing.active and resuming.active and broker.unready() is None, within=60)
        await publish(broker, message("after", "a.happened"))
        for inbox in (paused, resumed):
            await inbox.wait_for(1)
        await pausing.close()
        await resuming.close()


@pytest.mark.cell
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
        await other.open()  # declares it again
        await publish(other, message("after"))
        assert (await inbox.wait_for(1, within=20))[0].headers["cloudEvents_id"] == "after"
        await subscription.close()
        await other.close()
        await connection.close()
