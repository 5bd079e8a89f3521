"""Shortcomings of a broker that is usable nevertheless: `headrace check` reports them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiormq
from aiormq.exceptions import ConnectionInternalError

from adapters.rabbitmq.calls import calls, close_quietly
from adapters.rabbitmq.connection import connection_to
from adapters.rabbitmq.link import HEARTBEAT

_STREAMS_OFF = (
    "the feature flag `stream_queue` is off: the broker then dead-letters at most once, so a delayed retry can be lost when a node "
    "fails. Mend it: rabbitmqctl enable_feature_flag stream_queue"
)


async def streams(url: str, timeout: float, token: str, ca_file: str = "") -> list[str]:
    """Look on a connection of its own, which the broker ends where the flag is off. Raises BrokerUnavailable.

    AMQP does not tell feature flags, so a stream is declared and deleted. From 3.12 on the flag cannot be off (RabbitMQ,
    Feature Flags). token: for the stream's name. ca_file: authorities to trust.
    """
    connection = connection_to(url, "headrace-check", HEARTBEAT, ca_file)
    with calls():
        async with asyncio.timeout(timeout):
            await connection.connect()
        try:
            if _version(connection.underneath) >= (3, 12):
                return []
            async with asyncio.timeout(timeout):
                channel = await connection.channel()
                name = f"headrace.check.{token}"
                await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "stream"})
                await channel.queue_delete(name)
        except ConnectionInternalError:
            return [_STREAMS_OFF]
        finally:
            await close_quietly(connection, 1.0)
    return []


def limits(found: Mapping[str, int | None], wanted: int) -> list[str]:
    """Queues that have another delivery limit. found: by queue; None is the broker's own."""
    return [
        f"queue {queue} has x-delivery-limit {'unset' if limit is None else limit}, and HEADRACE_DELIVERY_LIMIT is {wanted}: the "
        "queue's is in force, so a message that is handed out more often becomes a dead letter. Mend it: drain the queue and "
        f"delete it (rabbitmqctl delete_queue {queue}); it is declared anew within seconds"
        for queue, limit in sorted(found.items())
    ]


def _version(connection: aiormq.Connection) -> tuple[int, ...]:
    text = str(connection.server_properties.get("version", ""))
    parts = text.split("-", maxsplit=1)[0].split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0, 0)
