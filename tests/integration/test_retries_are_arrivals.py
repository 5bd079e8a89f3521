"""Retries come back by the ladder, which RabbitMQ does not count as publishes to their queue: both together are what arrived."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from adapters.rabbitmq import RabbitMQ
from autoscaler.signals.rabbitmq import ManagementSignal
from consumer import Context, RetryLater, handler
from consumer.app import threads
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.clock import ManualClock, SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Contract
from core.ports import Message
from core.retry import RetryPolicy
from tests.integration.test_management_signal import until
from tests.servers.rabbitmq import RabbitMQServer

JOBS = 20


class Payload(BaseModel):
    n: int


@pytest.mark.timeout(180)
async def test_published_and_returned_are_what_arrived(managed_rabbitmq: RabbitMQServer) -> None:
    """Of each job's four runs the first comes of a publish, the second and third of the ladder, the fourth of a publish again: its
    delay is 0."""
    ran = 0

    @handler("thing.done", queue="work")
    async def run(payload: Payload, ctx: Context) -> None:
        nonlocal ran
        ran += 1
        if ctx.attempt < 4:
            raise RetryLater([1.0, 2.0, 0.0][ctx.attempt - 1])

    url, clock = managed_rabbitmq.vhost(), SystemClock()
    catalogue = Catalogue([Contract("thing.done", Payload, ("work",), RetryPolicy(max_attempts=5))])
    settings = ConsumerSettings(connect_timeout=20)
    broker = RabbitMQ(url, catalogue.topology(), settings, clock)
    signal = ManagementSignal(lambda: managed_rabbitmq.management_url, urlsplit(url).path[1:], ManualClock(), 20.0)
    await broker.open()
    await signal.open()
    async with Resources({}, []) as resources:
        runtime = QueueRuntime("work", broker, None, Tools(settings, Registry(catalogue, [run]), resources, threads, clock))
        await runtime.start()
        for n in range(JOBS):
            envelope = Envelope(new_job_id(), "thing.done", clock.wall())
            await broker.publish([Message(envelope.job_id, "thing.done", envelope.headers(), b'{"n": %d}' % n)])[0]
        async with asyncio.timeout(120):
            while ran < 4 * JOBS:
                await asyncio.sleep(0.1)
        seen = await until(signal, "work", published=2.0 * JOBS)
        async with asyncio.timeout(20):  # they are counted once their due second is over, and the last ones may have run in it
            while runtime.figures().due_soon:
                await asyncio.sleep(0.1)
        returned = runtime.figures().returned
        assert returned == 2 * JOBS
        assert seen.figures["published"].value + returned == ran
        await runtime.drain(1.0)
    await signal.close()
    await broker.close()
