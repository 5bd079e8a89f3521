"""Records of version 0.1.0 are read and continued, and records written here are understood by its pods, until the last is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio as aioredis

from adapters.redis import RedisOutcomes
from adapters.redis.records import packed
from core.clock import SystemClock
from core.identity import new_job_id
from core.model import State
from core.ports import Claim, DeadLetter, Failure, Queued, Verdict
from core.settings import Settings
from tests.contract import redis_0_1_0 as scripts
from tests.contract.outcomes_suite import AT, claim, letter, outcome
from tests.servers.redis import RedisServer

TTL = 60


class Former:
    """A pod of version 0.1.0: its scripts with its arguments."""

    def __init__(self, client: aioredis.Redis) -> None:
        self.client = client

    async def _run(self, script: str, job_id: str | None, *arguments: Any) -> Any:
        keys = [] if job_id is None else [f"headrace:job:{job_id}"]
        return await self.client.eval(script, len(keys), *keys, *arguments)

    async def queued(self, c: Claim) -> None:
        await self._run(scripts.QUEUED, c.job_id, TTL, "queued", "unconfirmed", c.job_type, c.accepted_at, 1, c.queue)

    async def claim(self, c: Claim) -> str:
        fields = (c.queue, c.job_type, c.accepted_at, c.replay, c.attempt, c.token, int(c.lease * 1000))
        ((verdict, _),) = await self._run(scripts.CLAIM, c.job_id, TTL, *fields)
        return str(verdict.decode())

    async def renew(self, c: Claim) -> bool:
        return bool((await self._run(scripts.RENEW, c.job_id, c.queue, c.token, int(c.lease * 1000)))[0])

    async def settle(self, c: Claim, state: State, due: str = "", dead: DeadLetter | None = None) -> bool:
        fields = (c.queue, c.token, state.value, repr(AT), due, '{"n":1}', "", packed(dead) if dead else b"")
        return bool((await self._run(scripts.SETTLE, c.job_id, TTL, *fields))[0])

    async def bury(self, dead: DeadLetter) -> None:
        await self._run(scripts.BURY, None, TTL, packed(dead))

    async def drop(self, dead_id: str) -> bool:
        return bool(await self._run(scripts.DROP, None, dead_id))


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisOutcomes]:
    redis_server.ask("FLUSHALL")
    store = RedisOutcomes(redis_server.url, Settings(retention=TTL), SystemClock())
    yield store
    await store.close()


@pytest.fixture
async def former(redis_server: RedisServer) -> AsyncIterator[Former]:
    async with aioredis.Redis.from_url(redis_server.url) as client:
        yield Former(client)


async def _verdict(store: RedisOutcomes, asked: Claim) -> Verdict:
    return (await store.claim([asked]))[0].verdict


async def test_a_claim_of_the_former_version_is_held_renewed_and_settled(store: RedisOutcomes, former: Former) -> None:
    first = replace(claim(new_job_id()), lease=30.0)
    await former.queued(first)
    assert await former.claim(first) == "granted"
    (answer,) = await store.claim([replace(first, token="t2")])
    assert answer.verdict is Verdict.HELD
    assert 0 < answer.seconds <= 30
    assert await store.renew([first]) == [True]
    assert await former.claim(replace(first, token="t3")) == "held"
    assert await store.settle([outcome(first, State.SUCCEEDED, result="1")]) == [True]
    assert await former.claim(replace(first, token="t3")) == "settled"


async def test_a_claim_of_this_version_is_held_renewed_and_settled_by_the_former(store: RedisOutcomes, former: Former) -> None:
    first = replace(claim(new_job_id()), lease=30.0)
    await store.queued([Queued(first.job_id, first.job_type, (first.queue,), AT)])
    assert await _verdict(store, first) is Verdict.GRANTED
    assert await former.claim(replace(first, token="t2")) == "held"
    assert await former.renew(first)
    assert await former.settle(first, State.RETRYING, due=repr(4e9))
    assert await _verdict(store, replace(first, token="t2")) is Verdict.WAITING
    second = replace(first, attempt=2, token="t3")
    assert await former.claim(second) == "granted"
    assert await former.settle(second, State.SUCCEEDED)
    record = await store.job(first.job_id)
    assert record is not None
    assert [(d.state, d.attempts, d.result) for d in record.deliveries] == [(State.SUCCEEDED, 2, '{"n":1}')]
    assert await _verdict(store, replace(second, token="t4")) is Verdict.SETTLED


async def test_a_letter_of_the_former_version_is_listed_replayed_and_dropped(store: RedisOutcomes, former: Former) -> None:
    asked = claim(new_job_id())
    dead = letter("d1", job_id=asked.job_id, failure=Failure("E", "m", "t"), attempts=2)
    assert await former.claim(asked) == "granted"
    assert await former.settle(asked, State.DEAD, dead=dead)
    await former.bury(letter("d2", died_at=AT + 1, job_type=None))
    assert await store.dead_letter("d1") == dead
    assert [item.dead_id for item in (await store.dead_letters()).items] == ["d2", "d1"]
    assert [item.dead_id for item in (await store.dead_letters(queue="email", job_type="user.registered")).items] == ["d1"]
    assert await store.replayed("d1", AT + 7, 1)
    assert await former.claim(replace(asked, token="t2")) == "granted", "as it was: to it, what is queued runs"
    assert await store.drop("d1")
    await store.bury([letter("d3", died_at=AT + 2)])
    assert await former.drop("d3")
    assert [item.dead_id for item in (await store.dead_letters(queue="email")).items] == ["d2"]
