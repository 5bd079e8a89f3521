"""The consumer as a process: drained by SIGTERM, and with its outcome store stalled."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiormq
import pytest

from adapters.rabbitmq import RabbitMQ
from adapters.redis import RedisOutcomes
from core import project
from core.clock import SystemClock
from core.envelope import Envelope
from core.errors import StoreUnavailable
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import Message
from core.settings import Settings
from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

BODY = b'{"order_id": 1, "user_id": 2, "amount": "10.00", "currency": "EUR"}'


@asynccontextmanager
async def consumer(
    folder: Path, broker: str, outcomes: str, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The process, ready, and the URL of its probes."""
    port = free_port()
    environment = os.environ | {
        "HEADRACE_BROKER": broker,
        "HEADRACE_OUTCOMES": outcomes,
        "HEADRACE_DATABASE": f"sqlite:///{folder}/points.db",
        "HEADRACE_PROBE_PORT": str(port),
        "HEADRACE_STORE_TIMEOUT": "0.5",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "consumer", "--queues", "payouts", env=environment)
    url = f"http://127.0.0.1:{port}"
    await until_ready(url, 200)
    yield process, url
    if process.returncode is None:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 40) == 0


async def until_ready(url: str, status: int) -> None:
    async with asyncio.timeout(40), aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.get(f"{url}/readyz") as answer:
                    if answer.status == status:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(0.05)


@asynccontextmanager
async def broker_at(url: str) -> AsyncIterator[RabbitMQ]:
    broker = RabbitMQ(url, project.catalogue().topology(), Settings(connect_timeout=20), SystemClock())
    await broker.open()
    yield broker
    await broker.close()


async def submit(broker: RabbitMQ) -> str:
    envelope = Envelope(new_job_id(), "order.settled", SystemClock().wall())
    await broker.publish([Message(envelope.job_id, "order.settled", envelope.headers(), BODY)])[0]
    return envelope.job_id


async def until_succeeded(store: RedisOutcomes, job_ids: list[str]) -> None:
    async with asyncio.timeout(40):
        for job_id in job_ids:
            while True:
                try:
                    record = await store.job(job_id)
                    if record and record.deliveries[0].state is State.SUCCEEDED:
                        break
                except StoreUnavailable:
                    pass  # back soon
                await asyncio.sleep(0.05)


@pytest.mark.cell
async def test_a_stalled_outcome_store_pauses_and_loses_nothing(
    rabbitmq: RabbitMQServer, own_redis: RedisServer, tmp_path: Path
) -> None:
    url = rabbitmq.vhost()
    store = RedisOutcomes(own_redis.url, Settings(), SystemClock())
    async with broker_at(url) as broker, consumer(tmp_path, url, own_redis.url) as (_, probes):
        first = [await submit(broker) for _ in range(5)]
        await until_succeeded(store, first)
        own_redis.stop()
        second = [await submit(broker) for _ in range(100)]
        await until_ready(probes, 503)
        own_redis.cont()
        await until_ready(probes, 200)
        await until_succeeded(store, second)
        async with asyncio.timeout(10):
            while (await broker.depth("payouts")).ready:
                await asyncio.sleep(0.05)
    await store.close()


@pytest.mark.cell
async def test_what_the_broker_gave_up_arrives_in_the_store(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    url = rabbitmq.vhost()
    store = RedisOutcomes(redis_server.url, Settings(), SystemClock())
    async with broker_at(url) as broker:
        envelope = Envelope(new_job_id(), "order.settled", SystemClock().wall())
        message = Message(envelope.job_id, "order.settled", envelope.headers(), BODY, queue="payouts.dead")
        await broker.publish([message])[0]
        async with consumer(tmp_path, url, redis_server.url):
            async with asyncio.timeout(20):
                while not (items := (await store.dead_letters(queue="payouts")).items):
                    await asyncio.sleep(0.05)
            assert [(i.job_id, i.body) for i in items] == [(envelope.job_id, BODY)]
    await store.close()


@pytest.mark.cell
async def test_what_no_gateway_would_send_is_dead_with_its_bytes(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    url = rabbitmq.vhost()
    store = RedisOutcomes(redis_server.url, Settings(), SystemClock())
    big = b"\x00" * 10_000_000
    sent: dict[bytes, tuple[dict[str, Any], Reason]] = {
        b"\xff\xfegarbage": ({}, Reason.MALFORMED),
        b"numbers": ({"cloudEvents_id": 7, "x-list": [1, None]}, Reason.MALFORMED),
        b"future": ({"headrace-version": "9"}, Reason.VERSION),
        big: ({}, Reason.MALFORMED),
    }
    envelope = Envelope(new_job_id(), "order.settled", SystemClock().wall())
    sent[b'{"order_id": "not any more"}'] = (envelope.headers(), Reason.INVALID)
    async with broker_at(url), consumer(tmp_path, url, redis_server.url):
        connection = await aiormq.connect(url)
        channel = await connection.channel()
        for body, (headers, _) in sent.items():
            properties = aiormq.spec.Basic.Properties(headers=headers)
            await channel.basic_publish(body, routing_key="payouts", properties=properties)
        async with asyncio.timeout(30):
            while True:
                found = {letter.body: letter.reason for letter in (await store.dead_letters(queue="payouts")).items}
                if sent.keys() <= found.keys():
                    break
                await asyncio.sleep(0.05)
        assert {body: found[body] for body in sent} == {body: reason for body, (_, reason) in sent.items()}
        await connection.close()
    await store.close()


@pytest.mark.cell
async def test_a_second_signal_ends_at_once(rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path) -> None:
    async with consumer(tmp_path, rabbitmq.vhost(), redis_server.url) as (process, _):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 40) in (0, 1)


@pytest.mark.cell
async def test_a_time_limit_beyond_the_brokers_own_is_refused(tmp_path: Path) -> None:
    environment = os.environ | {"HEADRACE_BROKER": "amqp://127.0.0.1:1/", "HEADRACE_CONSUMER_TIMEOUT": "30"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consumer", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"HEADRACE_CONSUMER_TIMEOUT=30" in err
    assert b"user.registered" in err


@pytest.mark.cell
async def test_a_cordoned_consumer_takes_nothing_more_is_ready_and_alive_and_takes_again_when_its_lease_ends(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    url = rabbitmq.vhost()
    store = RedisOutcomes(redis_server.url, Settings(), SystemClock())
    async with (
        broker_at(url) as broker,
        consumer(tmp_path, url, redis_server.url, HEADRACE_STALL_SECONDS="1") as (_, probes),
        aiohttp.ClientSession(probes) as client,
    ):
        async with client.put("/cordon", json={"seconds": 4}) as answer:
            figures = await answer.json()
        assert figures["payouts"]["cordoned"] is True
        first = await submit(broker)
        await asyncio.sleep(2)
        assert (await broker.depth("payouts")).ready == 1
        for path in ("/readyz", "/livez"):
            async with client.get(path) as answer:
                assert answer.status == 200, await answer.text()
        await until_succeeded(store, [first])
        for body, status in ((b'{"seconds": 1e9}', 400), (b"{", 400), (b" " * 2000, 413)):
            async with client.put("/cordon", data=body) as answer:
                assert (answer.status, bool((await answer.json())["detail"])) == (status, True)
        async with client.get("/cordon") as answer:
            assert answer.status == 405
        async with client.put("/ahead", json={"queue": "payouts", "seconds": 4}) as answer:
            figures = await answer.json()
        assert (figures["payouts"]["free"] > 0, figures["payouts"]["waited"]) == (True, 0.0)
        async with client.put("/ahead", json={"queue": "nobody's", "seconds": 4}) as answer:
            assert answer.status == 400
        await until_succeeded(store, [await submit(broker)])
    await store.close()
