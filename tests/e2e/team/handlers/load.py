"""Does the work of load.quick, load.long and load.apart, and leaves effects in Redis that can be counted.

`began` has an entry `N RUN` for each run of job N, with its id, attempt and pod; `pod` the last pod and `at` the Unix time of the
first run; `ended` an entry `N RUN` for each run that came to its end, and `effects` one for each idempotency key. A command that
the client sends again, since its answer did not come, changes nothing: runs are counted.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import redis.asyncio as aioredis

from app.contracts.load import Load
from consumer import Context, handler, resource

_FILE = Path(os.environ["HEADRACE_OUTCOMES_FILE"])


class Effects:
    """Where effects are left."""

    def __init__(self, client: aioredis.Redis) -> None:
        self._client = client
        self._pod = os.environ.get("HOSTNAME", "")

    async def begin(self, load: Load, run: str, ctx: Context) -> None:
        async with self._client.pipeline(transaction=True) as together:
            together.hset(f"e2e:{load.run}:began", f"{load.n} {run}", f"{ctx.job_id} attempt {ctx.attempt} in {self._pod}")
            together.hset(f"e2e:{load.run}:pod", str(load.n), self._pod)
            together.hsetnx(f"e2e:{load.run}:at", str(load.n), str(time.time()))
            await together.execute()

    async def end(self, load: Load, run: str, key: str) -> None:
        async with self._client.pipeline(transaction=True) as together:
            together.hsetnx(f"e2e:{load.run}:effects", key, self._pod)
            together.hset(f"e2e:{load.run}:ended", f"{load.n} {run}", self._pod)
            await together.execute()


@resource
async def open_effects() -> AsyncIterator[Effects]:
    url = _FILE.read_text(encoding="utf-8").strip()  # noqa: ASYNC240 - once, at the start
    # While pods start, a first packet may be sent again after 1 s, 3 s and 7 s: a timeout of 5 s can make a run fail.
    client = aioredis.from_url(url, socket_timeout=20.0)
    yield Effects(client)
    await client.aclose()


async def _work(load: Load, ctx: Context, effects: Effects) -> None:
    run = uuid.uuid4().hex
    await effects.begin(load, run, ctx)
    await asyncio.sleep(load.seconds)
    await effects.end(load, run, ctx.idempotency_key)


@handler("load.quick", queue="quick")
async def quick(load: Load, ctx: Context, effects: Effects) -> None:
    await _work(load, ctx, effects)


@handler("load.long", queue="long")
async def long(load: Load, ctx: Context, effects: Effects) -> None:
    await _work(load, ctx, effects)


@handler("load.apart", queue="apart")
async def apart(load: Load, ctx: Context, effects: Effects) -> None:
    await _work(load, ctx, effects)
