"""The scripts of Redis say of every stored line what `core/claims.py` says of it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
import redis.asyncio as aioredis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.typing import EncodableT

from adapters.redis import RedisOutcomes
from core.claims import Stored, accepts, judge
from core.clock import SystemClock
from core.model import State
from core.ports import Claim, Outcome, Verdict
from core.settings import Settings
from tests.servers.redis import RedisServer

LEASE = 50.0
FAR = 3600.0  # far more than a test takes


class Line(NamedTuple):
    """A record in Redis. ends, due: seconds from now."""

    state: State
    replay: int
    attempt: int
    token: str
    ends: float
    due: float
    length: float | None  # of the lease; None as version 0.1.0 wrote it
    crashed: bool

    def text(self, now: float) -> str:
        due = (self.length or 0) if self.state is State.RUNNING else max(0.0, now + self.due)
        ends = max(0.0, now + self.ends)
        return f"{self.state}|{self.replay}|{self.attempt}|{self.token}|{ends * 1000:.0f}|{due * 1000:.0f}"

    def stored(self, now: float) -> Stored:
        """As the rules see it: a lease has no more left than its length."""
        length = LEASE if self.length is None else self.length
        until = now + min(self.ends, length)
        return Stored(
            self.state, self.replay, self.attempt, self.token, until, now + self.due, self.crashed and self.state is State.RUNNING
        )


lines = st.builds(
    Line,
    st.sampled_from(State),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from(["a", "b", ""]),
    st.sampled_from([-FAR, -20.0, 20.0, FAR]),
    st.sampled_from([-FAR, -20.0, 20.0, FAR]),
    st.sampled_from([None, 30.0, 90.0]),
    st.booleans(),
)
claims = st.builds(
    Claim,
    st.sampled_from(["q", "r"]),
    st.sampled_from(["one", "two"]),
    st.just("t"),
    st.just(0.0),
    st.integers(0, 2),
    st.integers(1, 3),
    st.sampled_from("ab"),
    st.just(LEASE),
)
stored = st.dictionaries(st.tuples(st.sampled_from(["one", "two"]), st.sampled_from(["q", "r"])), lines)
examples = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Server:
    """A server that holds what a test wants it to, and a store on it."""

    def __init__(self, url: str) -> None:
        self.url = url.removesuffix("/0") + "/5"  # a database of its own

    async def __aenter__(self) -> Server:
        self.client = aioredis.Redis.from_url(self.url)
        self.store = RedisOutcomes(self.url, Settings(), SystemClock())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()
        await self.client.aclose()

    async def put(self, known: dict[tuple[str, str], Line]) -> float:
        """The server's time."""
        await self.client.flushdb()
        seconds, _ = await self.client.time()
        for (job, queue), line in known.items():
            fields: dict[EncodableT, EncodableT] = {"type": "t", "at": "0.0", f"c:{queue}": line.text(seconds)}
            if line.crashed and line.state is State.RUNNING:
                fields[f"crash:{queue}"] = line.token
            await self.client.hset(f"headrace:job:{job}", mapping=fields)
        return float(seconds)


def _run(url: str, known: dict[tuple[str, str], Line], asked: list[Claim], state: State | None) -> tuple[float, list[object]]:
    """The answers of Redis: to claims without a state, to renewals for RUNNING, else to outcomes."""

    async def run() -> tuple[float, list[object]]:
        async with Server(url) as on:
            now = await on.put(known)
            if state is None:
                return now, [(a.verdict, a.seconds) for a in await on.store.claim(asked)]
            if state is State.RUNNING:
                return now, list(await on.store.renew(asked))
            return now, list(await on.store.settle([Outcome(c, state, 0.0) for c in asked]))

    return asyncio.run(run())


@examples
@given(known=stored, asked=st.lists(claims, min_size=1, max_size=4))
def test_a_batch_of_claims_is_judged_by_the_rules(
    redis_server: RedisServer, known: dict[tuple[str, str], Line], asked: list[Claim]
) -> None:
    now, answers = _run(redis_server.url, known, asked, None)
    state = {where: line.stored(now) for where, line in known.items()}
    for claim, answer in zip(asked, answers, strict=True):
        expected = judge(state.get((claim.job_id, claim.queue)), claim, now)
        assert isinstance(answer, tuple)
        assert answer[0] is expected.verdict
        assert answer[1] == pytest.approx(expected.seconds, abs=15.0)  # how long this took; the cases are 20 s apart
        if expected.verdict.ours:
            crashed = expected.verdict is Verdict.CRASHED
            run = Stored(State.RUNNING, claim.replay, claim.attempt, claim.token, now + LEASE, crashed=crashed)
            state[claim.job_id, claim.queue] = run


@examples
@given(
    known=stored,
    asked=st.lists(claims, min_size=1, max_size=4),
    into=st.sampled_from([State.RUNNING, State.QUEUED, State.RETRYING, State.SUCCEEDED, State.DEAD, State.CANCELLED]),
)
def test_a_batch_of_renewals_or_outcomes_is_accepted_by_the_rules(
    redis_server: RedisServer, known: dict[tuple[str, str], Line], asked: list[Claim], into: State
) -> None:
    now, answers = _run(redis_server.url, known, asked, into)
    state = {where: line.stored(now) for where, line in known.items()}
    for claim, answer in zip(asked, answers, strict=True):
        expected = accepts(state.get((claim.job_id, claim.queue)), claim, into)
        assert answer is expected
        if expected:
            state[claim.job_id, claim.queue] = Stored(into, claim.replay, claim.attempt, claim.token, now + LEASE, now)
