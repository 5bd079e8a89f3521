"""The controller's journal on Redis: a capped stream for each queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from jobs.adapters.journal_text import from_text, to_text
from jobs.adapters.redis.client import client, why
from jobs.errors import StoreUnavailable
from jobs.journal import ScalingRecord
from jobs.secret_url import Url
from jobs.settings import Settings

_QUEUES, _STATE = "headrace:journal", "headrace:controller:state:"


class RedisJournal:
    """One pipeline a call. url: asked for its user and password anew by each connection."""

    def __init__(self, url: Url, settings: Settings) -> None:
        self._redis = client(url, settings, connections=8)
        self._most, self._age = settings.journal_records, int(settings.journal_age)

    async def open(self) -> None:
        await self._ask(self._redis.ping())

    async def close(self) -> None:
        await self._redis.aclose()

    async def append(self, records: Sequence[ScalingRecord]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for record in records:
            pipeline.xadd(_stream(record.queue), {"record": to_text(record)}, maxlen=self._most, approximate=False)
        for record in {r.queue: r for r in records}.values():
            # The age of a queue's records: what is older than the newest by more goes, and all of it once nothing comes any more.
            pipeline.xtrim(_stream(record.queue), minid=int((record.at - self._age) * 1000), approximate=False)
            pipeline.expire(_stream(record.queue), self._age)
            pipeline.zadd(_QUEUES, {record.queue: record.at})
        await self._ask(pipeline.execute())

    async def latest(self) -> list[ScalingRecord]:
        queues = [name.decode() for name in await self._ask(self._redis.zrange(_QUEUES, 0, -1))]
        pipeline = self._redis.pipeline(transaction=False)
        for queue in sorted(queues):
            pipeline.xrevrange(_stream(queue), count=1)
        found = await self._ask(pipeline.execute()) if queues else []
        return [from_text(entries[0][1][b"record"]) for entries in found if entries]

    async def tail(self, queue: str, limit: int) -> list[ScalingRecord]:
        entries = await self._ask(self._redis.xrevrange(_stream(queue), count=limit))
        return [from_text(fields[b"record"]) for _, fields in reversed(entries)]

    async def remember(self, states: dict[str, str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for queue, state in states.items():
            pipeline.set(_STATE + queue, state, ex=self._age)
        await self._ask(pipeline.execute())

    async def recall(self, queue: str) -> tuple[str, float] | None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(_STATE + queue)
        pipeline.pttl(_STATE + queue)
        state, left = await self._ask(pipeline.execute())
        return (state.decode(), max(0.0, self._age - left / 1000)) if state is not None else None

    async def _ask(self, command: Any) -> Any:
        try:
            return await command
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(why(error)) from None


def _stream(queue: str) -> str:
    return f"headrace:journal:{queue}"
