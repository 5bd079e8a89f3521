"""The broker's own depths, on a real RabbitMQ and on SQLite, with queues and brokers that go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiormq
import pytest

from adapters.rabbitmq import RabbitMQ
from adapters.sqlite import SqliteBroker
from autoscaler.ports import Sighting
from autoscaler.signals.depth import DepthSignal
from core.clock import SystemClock
from core.errors import SignalError
from core.ports import Broker, Message
from core.settings import Settings
from core.topology import Topology
from tests.contract.broker_suite import Inbox, publish, subscribed
from tests.servers.rabbitmq import RabbitMQServer

QUEUES = [f"queue{n}" for n in range(8)]
TOPOLOGY = Topology({f"type{n}": (queue,) for n, queue in enumerate(QUEUES)})
TIMEOUT = 1.5


@asynccontextmanager
async def signal_of(broker: Broker, timeout: float = TIMEOUT) -> AsyncIterator[DepthSignal]:
    signal = DepthSignal(broker, SystemClock(), timeout)
    await signal.open()
    try:
        yield signal
    finally:
        await signal.close()


def rabbit(url: str) -> RabbitMQ:
    return RabbitMQ(url, TOPOLOGY, Settings(connect_timeout=20, publish_timeout=20), SystemClock())


def jobs(count: int, kind: int) -> Sequence[Message]:
    return [Message(f"job{kind}-{n}", f"type{kind}", {"cloudEvents_id": f"{kind}-{n}"}, b"{}") for n in range(count)]


def ready(seen: Mapping[str, Sighting]) -> dict[str, float]:
    return {queue: sighting.figures["ready_jobs"].value for queue, sighting in seen.items()}


async def fill(broker: Broker) -> dict[str, float]:
    """Publish into each queue as many jobs as its number: a figure that belongs to another queue is seen."""
    for kind in range(len(QUEUES)):
        await publish(broker, *jobs(kind, kind))
    return {queue: float(n) for n, queue in enumerate(QUEUES)}


async def until(signal: DepthSignal, wanted: Mapping[str, float]) -> None:
    last: object = None
    try:
        async with asyncio.timeout(60):
            while last != wanted:
                await asyncio.sleep(0.05)
                try:
                    last = ready(await signal.look(list(wanted)))
                except SignalError as error:
                    last = str(error)  # not back yet
    except TimeoutError:
        pytest.fail(f"last seen: {last}")


async def refused(signal: DepthSignal) -> str:
    """A look that sees nothing, in bounded time."""
    async with asyncio.timeout(TIMEOUT + 10):  # as much again for a busy machine: a bound, not a measurement
        with pytest.raises(SignalError) as raised:
            await signal.look(QUEUES)
    return str(raised.value)


async def test_rabbitmq_tells_what_is_ready_in_each_queue_at_this_moment(rabbitmq: RabbitMQServer) -> None:
    broker, clock = rabbit(rabbitmq.vhost()), SystemClock()
    async with signal_of(broker, timeout=20) as signal:
        assert ready(await signal.look(QUEUES)) == dict.fromkeys(QUEUES, 0.0), "0 is what the broker says"
        wanted = await fill(broker)
        await until(signal, wanted)
        before = clock.steady()
        seen = await signal.look(QUEUES)
        assert before <= seen["queue3"].figures["ready_jobs"].at <= clock.steady()
        assert "unacked" not in seen["queue3"].figures, "RabbitMQ does not tell: unknown"
        inbox = Inbox()
        subscription = await subscribed(broker, "queue7", 2, inbox)
        await inbox.wait_for(2)
        await until(signal, wanted | {"queue7": 5.0})
        await subscription.close()


async def test_a_queue_that_is_deleted_takes_no_other_away_and_is_seen_when_it_is_remade(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    broker = rabbit(url)
    async with signal_of(broker, timeout=20) as signal:
        wanted = await fill(broker)
        await until(signal, wanted)
        connection = await aiormq.connect(url)
        channel = await connection.channel()
        await channel.queue_delete("queue2")
        await channel.queue_delete("queue6")
        left = {queue: depth for queue, depth in wanted.items() if queue not in ("queue2", "queue6")}
        assert ready(await signal.look(QUEUES)) == left
        with pytest.raises(SignalError, match="no queue 'queue2'"):
            await signal.look(["queue2", "queue6"])
        await channel.queue_declare("queue2", durable=True, arguments={"x-queue-type": "quorum"})
        await until(signal, left | {"queue2": 0.0})
        await connection.close()


async def test_a_broker_that_is_stalled_killed_and_started_again(own_rabbitmq: RabbitMQServer) -> None:
    broker = rabbit(own_rabbitmq.url)
    async with signal_of(broker) as signal:
        wanted = await fill(broker)
        await until(signal, wanted)
        own_rabbitmq.stop()
        assert "did not tell" in await refused(signal)
        own_rabbitmq.cont()
        await until(signal, wanted)
        for _ in range(5):  # answers to requests from before the stall do not count
            assert ready(await signal.look(QUEUES)) == wanted
        await asyncio.to_thread(own_rabbitmq.kill)
        await refused(signal)
        await refused(signal)
        await asyncio.to_thread(own_rabbitmq.start)
        await until(signal, wanted)


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "headrace.db")


async def test_sqlite_also_tells_what_is_held(path: str) -> None:
    broker = SqliteBroker(path, TOPOLOGY, Settings(), SystemClock())
    async with signal_of(broker, timeout=20) as signal:
        wanted = await fill(broker)
        assert ready(await signal.look(QUEUES)) == wanted
        inbox = Inbox()
        subscription = await subscribed(broker, "queue7", 2, inbox)
        await inbox.wait_for(2)
        figures = (await signal.look(QUEUES))["queue7"].figures
        assert (figures["ready_jobs"].value, figures["unacked"].value) == (5, 2)
        for delivery in list(inbox.got):
            subscription.ack(delivery)
        await inbox.wait_for(4)
        async with asyncio.timeout(20):
            while (await signal.look(QUEUES))["queue7"].figures["ready_jobs"].value != 3:
                await asyncio.sleep(0.01)  # acks are written in the background
        await subscription.close()


async def test_a_file_that_cannot_be_opened_is_seen_as_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    async with signal_of(SqliteBroker(str(folder / "headrace.db"), TOPOLOGY, Settings(), SystemClock())) as signal:
        await refused(signal)
        folder.unlink()
        await until(signal, dict.fromkeys(QUEUES, 0.0))
