"""The controller's journal on Redis: a capped stream for each queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.journal_text import from_text, to_text
from adapters.redis.link import Link
from core.journal import ScalingRecord
from core.secret_url import Url
from core.settings import Settings

_QUEUES, _STATE = "headrace:journal", "headrace:controller:state:"


# Commands at once: one controller writes, and a gateway's console reads.
MOST_AT_ONCE = 8


class RedisJournal:
    """One pipeline a call. url: asked for its user and password by each new connection."""

    def __init__(self, url: Url, settings: Settings) -> None:
        self._link = Link(url, settings, MOST_AT_ONCE)
        self._most, self._age = settings.journal_records, int(settings.journal_age)

    async def open(self) -> None:
        await self._link.ask("EXISTS", _QUEUES)  # of a key: on a cluster PING would ask any server

    async def close(self) -> None:
        await self._link.close()

    async def append(self, records: Sequence[ScalingRecord]) -> None:
        commands: list[tuple[Any, ...]] = [
            ("XADD", _stream(record.queue), "MAXLEN", "=", self._most, "*", "record", to_text(record)) for record in records
        ]
        for record in {r.queue: r for r in records}.values():
            # The age of a queue's records: records older than the newest by more are deleted, and all of them once no new ones
            # come.
            commands += [
                ("XTRIM", _stream(record.queue), "MINID", "=", int((record.at - self._age) * 1000)),
                ("EXPIRE", _stream(record.queue), self._age),
                ("ZADD", _QUEUES, record.at, record.queue),
            ]
        await self._link.all(commands)

    async def latest(self) -> list[ScalingRecord]:
        queues = [name.decode() for name in await self._link.ask("ZRANGE", _QUEUES, 0, -1)]
        found = await self._link.all([("XREVRANGE", _stream(queue), "+", "-", "COUNT", 1) for queue in sorted(queues)])
        return [from_text(entries[0][1][b"record"]) for entries in found if entries]

    async def tail(self, queue: str, limit: int) -> list[ScalingRecord]:
        entries = await self._link.ask("XREVRANGE", _stream(queue), "+", "-", "COUNT", limit)
        return [from_text(fields[b"record"]) for _, fields in reversed(entries)]

    async def remember(self, states: dict[str, str]) -> None:
        await self._link.all([("SET", _STATE + queue, state, "EX", self._age) for queue, state in states.items()])

    async def recall(self, queue: str) -> tuple[str, float] | None:
        state, left = await self._link.all([("GET", _STATE + queue), ("PTTL", _STATE + queue)])
        return (state.decode(), max(0.0, self._age - left / 1000)) if state is not None else None


def _stream(queue: str) -> str:
    return f"headrace:journal:{queue}"
