"""No loop of the RabbitMQ adapter ends, whatever the AMQP library does to it, at whichever await."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from adapters.rabbitmq import RabbitMQ
from core.clock import SystemClock
from core.errors import BrokerError
from core.settings import Settings
from core.topology import Topology
from tests.contract.broker_suite import Inbox, message, subscribed
from tests.faults import KINDS, Faults, Kind, quiet, strike_everywhere
from tests.servers.rabbitmq import RabbitMQServer

TOPOLOGY = Topology({"b.happened": ("one",)})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "hang" if kind is None else kind.__name__)
async def test_service_resumes_after_a_fault_at_any_await(rabbitmq: RabbitMQServer, kind: Kind) -> None:
    faults = Faults()
    settings = Settings(connect_timeout=3, publish_timeout=2, new_queue_pause=0)
    broker = RabbitMQ(rabbitmq.vhost(), TOPOLOGY, settings, SystemClock(), faults)
    await broker.open()
    inbox = Inbox()
    subscription = await subscribed(broker, "one", 10, inbox)
    numbers = itertools.count()

    async def stir() -> None:
        """Cut both connections, have the queues looked at, and pause and resume."""
        for link in (broker._publishing, broker.consuming):
            if link.connection is not None and link.connection.transport is not None:
                link.connection.underneath._reader_task.cancel()
        await subscription.pause()
        await subscription.resume()
        await _open(broker)
        broker.look()

    async def works() -> None:
        """One job goes all the way."""
        while True:
            name = str(next(numbers))
            try:
                await broker.publish([message(name)])[0]
            except BrokerError:
                await asyncio.sleep(0.05)
                continue
            try:
                await asyncio.wait_for(_arrives(inbox, name), 4.0)
            except TimeoutError:
                continue
            for delivery in inbox.got:
                subscription.ack(delivery)
            inbox.got.clear()
            return

    missed = await strike_everywhere(faults, kind, stir, works)
    assert sum(map(len, missed.values())) <= 3, missed  # an await that is passed without waiting, but for once
    assert len(faults.seen) >= 4, "two links, the publishing channel, one consumer"
    await subscription.close()
    await broker.close()
    await faults.close()
    await quiet()


async def _open(broker: RabbitMQ) -> None:
    for _ in range(300):
        if broker.unready() is None:
            return
        await asyncio.sleep(0.01)


async def _arrives(inbox: Inbox, name: str) -> None:
    while not any(delivery.headers["cloudEvents_id"] == name for delivery in inbox.got):
        await inbox.wait_for(len(inbox.got) + 1)
