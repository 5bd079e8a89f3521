"""What must exist on the broker. Declared by every program; what is there with other arguments is a clear error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from jobs.adapters.rabbitmq.passive import PassiveChannel
from jobs.errors import TopologyMismatch
from jobs.settings import Settings
from jobs.topology import DELAY_ARRIVAL, DELAY_LEVELS, EXCHANGE, Topology, dead_queue, delay_exchange
from telemetry import logs

_log = logs.get("rabbitmq")

DEAD_EXCHANGE = "jobs.dead"


async def declare(connection: aiormq.abc.AbstractConnection, topology: Topology, settings: Settings, timeout: float) -> None:
    """Declare all exchanges, queues and bindings, and see that they will outlive the broker's process.

    Raises TopologyMismatch, or aiormq's errors.
    """
    new = await _missing(connection, topology.queues, timeout)
    await _declare(connection, topology, settings, timeout)
    if new:
        # Which log belongs to which quorum queue stands in a DETS table (ra_directory), written 3 s after its last change: killed
        # before, the broker starts the queue anew with an empty log. Seen on 3.10.8 in 8 of 8 kills at once, in 0 of 5 after 4 s.
        _log.info("new queues: nothing is published until the broker has written them down", queues=new)
        await asyncio.sleep(settings.new_queue_pause)


async def _missing(connection: aiormq.abc.AbstractConnection, queues: Iterable[str], timeout: float) -> list[str]:
    """timeout: seconds for each."""
    missing, asked = [], PassiveChannel()
    for queue in queues:
        try:
            async with asyncio.timeout(timeout):
                await asked.declare(connection, queue)
        except ChannelNotFoundEntity:
            missing.append(queue)
    await asked.close()
    return missing


async def _declare(connection: aiormq.abc.AbstractConnection, topology: Topology, settings: Settings, timeout: float) -> None:
    channel = await connection.channel()
    try:
        for exchange in (EXCHANGE, DELAY_ARRIVAL, DEAD_EXCHANGE, *(delay_exchange(n) for n in range(DELAY_LEVELS))):
            await channel.exchange_declare(exchange, exchange_type="topic", durable=True, timeout=timeout)
        # The ladder first: where there is a queue to consume, there is also a way to try again.
        for level in range(DELAY_LEVELS):
            await _rung(channel, level, settings, timeout)
        for queue in topology.queues:
            await _queues(channel, queue, settings, timeout)
        for job_type, queues in topology.bindings.items():
            for queue in queues:
                await channel.queue_bind(queue, EXCHANGE, job_type, timeout=timeout)
    except ChannelPreconditionFailed as error:
        raise TopologyMismatch(
            f"{error}. It exists with other arguments. Drain it and delete it (rabbitmqctl delete_queue NAME): it is declared anew "
            "within seconds. Or set HEADRACE_DELIVERY_LIMIT and HEADRACE_REPLICATION_FACTOR to what it has"
        ) from None
    finally:
        if not channel.is_closed:
            await channel.close()


async def _queues(channel: AbstractChannel, queue: str, settings: Settings, timeout: float) -> None:
    dead = dead_queue(queue)
    await channel.queue_declare(dead, durable=True, arguments=_quorum(settings), timeout=timeout)
    await channel.queue_bind(dead, DEAD_EXCHANGE, queue, timeout=timeout)
    arguments = _quorum(settings) | _dead_lettered(DEAD_EXCHANGE)
    arguments |= {"x-dead-letter-routing-key": queue, "x-delivery-limit": settings.delivery_limit}
    await channel.queue_declare(queue, durable=True, arguments=arguments, timeout=timeout)
    await channel.queue_bind(queue, DELAY_ARRIVAL, f"#.{queue}", timeout=timeout)


async def _rung(channel: AbstractChannel, level: int, settings: Settings, timeout: float) -> None:
    """Level n: what has bit n set waits 2**n s in its queue; all goes on to level n - 1, and from level 0 to its own queue."""
    here = delay_exchange(level)
    below = delay_exchange(level - 1) if level else DELAY_ARRIVAL
    arguments = _quorum(settings) | _dead_lettered(below) | {"x-message-ttl": 1000 * 2**level}
    await channel.queue_declare(here, durable=True, arguments=arguments, timeout=timeout)
    higher_bits = "*." * (DELAY_LEVELS - 1 - level)
    await channel.queue_bind(here, here, f"{higher_bits}1.#", timeout=timeout)
    await channel.exchange_bind(below, here, f"{higher_bits}0.#", timeout=timeout)


def _quorum(settings: Settings) -> dict[str, Any]:
    return {"x-queue-type": "quorum", "x-quorum-initial-group-size": settings.replication_factor}


def _dead_lettered(exchange: str) -> dict[str, Any]:
    # At least once needs reject-publish, and the feature flag `stream_queue`: without it the broker does it at most once.
    return {"x-dead-letter-exchange": exchange, "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
