"""What a broker lacks although it can be used: told by `headrace check`."""

from __future__ import annotations

import asyncio
import uuid

import aiormq
from aiormq.exceptions import ConnectionInternalError

_STREAMS_OFF = (
    "the feature flag `stream_queue` is off: the broker then dead-letters at most once, so a delayed retry can be lost when a node "
    "fails. Mend it: rabbitmqctl enable_feature_flag stream_queue"
)


async def advice(url: str, timeout: float) -> list[str]:
    """Look on a connection of its own, which the broker ends where the flag is off. Raises OSError, AMQPError, TimeoutError.

    AMQP does not tell feature flags, so a stream is declared and deleted. From 3.12 on the flag cannot be off (RabbitMQ,
    Feature Flags).
    """
    connection = aiormq.Connection(url)
    async with asyncio.timeout(timeout):
        await connection.connect()
    try:
        if _version(connection) >= (3, 12):
            return []
        async with asyncio.timeout(timeout):
            channel = await connection.channel()
            name = f"headrace.check.{uuid.uuid4()}"
            await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})
            await channel.queue_delete(name)
    except ConnectionInternalError:
        return [_STREAMS_OFF]
    finally:
        if not connection.is_closed:
            closing = asyncio.ensure_future(connection.close())
            await asyncio.wait({closing}, timeout=1.0)
    return []


def _version(connection: aiormq.Connection) -> tuple[int, ...]:
    text = str(connection.server_properties.get("version", ""))
    parts = text.split("-", maxsplit=1)[0].split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0, 0)
