"""Does the work of load.quick, load.long and load.apart, and leaves effects in Redis that can be counted.

`began` counts how often a job was begun, `at` has the Unix time of the first, `ended` counts how often it ran to its end, and
`effects` has one entry for each idempotency key.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import redis.asyncio as aioredis
from contracts.load import Load

from consumer import Context, handler, resource

_FILE = Path(os.environ["HEADRACE_OUTCOMES_FILE"])


class Effects:
    """Where effects are left."""

    def __init__(self, client: aioredis.Redis) -> None:
        self._client = client
        self._pod = os.environ.get("HOSTNAME", "")

    async def begin(self, load: Load) -> None:
        await self._client.hincrby(f"e2e:{load.run}:began", str(load.n), 1)  # type: ignore[misc]
        await self._client.hset(f"e2e:{load.run}:pod", str(load.n), self._pod)  # type: ignore[misc]
        await self._client.hsetnx(f"e2e:{load.run}:at", str(load.n), str(time.time()))  # type: ignore[misc]

    async def end(self, load: Load, key: str) -> None:
        async with self._client.pipeline(transaction=True) as together:
            together.hsetnx(f"e2e:{load.run}:effects", key, self._pod)
            together.hincrby(f"e2e:{load.run}:ended", str(load.n), 1)
            await together.execute()


@resource
async def open_effects() -> AsyncIterator[Effects]:
    url = _FILE.read_text(encoding="utf-8").strip()  # noqa: ASYNC240 - once, at the start
    client = aioredis.from_url(url, socket_timeout=5.0)
    yield Effects(client)
    await client.aclose()


async def _work(load: Load, ctx: Context, effects: Effects) -> None:
    await effects.begin(load)
    await asyncio.sleep(load.seconds)
    await effects.end(load, ctx.idempotency_key)


@handler("load.quick", queue="quick")
async def quick(load: Load, ctx: Context, effects: Effects) -> None:
    await _work(load, ctx, effects)


@handler("load.long", queue="long")
async def long(load: Load, ctx: Context, effects: Effects) -> None:
    await _work(load, ctx, effects)


@handler("load.apart", queue="apart")
async def apart(load: Load, ctx: Context, effects: Effects) -> None:
    await _work(load, ctx, effects)
