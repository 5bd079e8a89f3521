"""The consumer's runtime on the embedded adapters in memory: every way in which a delivery settles."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from adapters.sqlite.subscription import SqliteSubscription
from consumer import Context, Permanent, RetryLater, handler
from consumer.app import threads
from consumer.ledger import Ledger
from consumer.liveness import Liveness
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Contract, Reason, State
from core.ports import Claim, Delivery, DeliveryRecord, Message, Outcome, Verdict
from core.retry import RetryPolicy


class Payload(BaseModel):
    n: int


_BARE = {
    "cloudEvents_specversion": "1.0",
    "cloudEvents_id": "01a20c57-040c-7584-a42e-6f91a24065d8",
    "cloudEvents_source": "/elsewhere",
}
CONTRACT = Contract("thing.done", Payload, ("work",), RetryPolicy(max_attempts=3, base=0.01, cap=0.02), time_limit=0.3)


@dataclass
class World:
    """A running queue, whose handler is `act`."""

    plain: bool
    act: Callable[[Payload, Context], Any] = lambda p, c: {"n": p.n}
    runs: list[Context] = field(default_factory=list)
    broker: SqliteBroker = field(init=False)
    store: SqliteOutcomes = field(init=False)
    ledger: Ledger = field(init=False)
    runtime: QueueRuntime = field(init=False)

    async def submit(self, body: bytes = b'{"n": 1}', headers: dict[str, str] | None = None, **more: Any) -> str:
        given = {"job_id": new_job_id(), "job_type": "thing.done", "accepted_at": SystemClock().wall(), **more}
        envelope = Envelope(**given)
        await self.broker.publish([Message(envelope.job_id, "thing.done", headers or envelope.headers(), body)])[0]
        return envelope.job_id

    async def ended(self, job_id: str, within: float = 10.0) -> DeliveryRecord:
        async with asyncio.timeout(within):
            while True:
                record = await self.store.job(job_id)
                if record and record.deliveries[0].state.final:
                    return record.deliveries[0]
                await asyncio.sleep(0.01)

    async def one_dead(self) -> Any:
        async with asyncio.timeout(10):
            while not (items := (await self.store.dead_letters()).items):
                await asyncio.sleep(0.01)
        return items[0]

    async def empty(self) -> bool:
        async with asyncio.timeout(10):
            while True:
                depth = await self.broker.depth("work")
                if not (depth.ready or depth.unacked or depth.delayed):
                    return True
                await asyncio.sleep(0.01)


@pytest.fixture(params=["coroutine", "plain"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = World(request.param == "plain")

    @handler("thing.done", queue="work")
    async def coroutine(payload: Payload, ctx: Context) -> Any:
        world.runs.append(ctx)
        answer = world.act(payload, ctx)
        return await answer if asyncio.iscoroutine(answer) else answer

    @handler("thing.done", queue="work")
    def plain(payload: Payload, ctx: Context) -> Any:
        world.runs.append(ctx)
        answer = world.act(payload, ctx)
        return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer

    catalogue, clock, settings = Catalogue([CONTRACT]), SystemClock(), ConsumerSettings(concurrency=4, claim_lease=1.0)
    registry = Registry(catalogue, [coroutine if request.param == "coroutine" else plain])
    world.broker = SqliteBroker(":memory:", catalogue.topology(), settings, clock)
    world.store = SqliteOutcomes(":memory:", settings, clock)
    world.ledger = Ledger(world.store, lease=settings.claim_lease, give_up=5.0)
    await world.ledger.open()
    await world.broker.open()
    async with Resources({}, []) as resources:
        world.runtime = QueueRuntime("work", world.broker, world.ledger, Tools(settings, registry, resources, threads, clock))
        await world.runtime.start()
        yield world
        await world.runtime.drain(2.0)
    await world.broker.close()
    await world.ledger.close()


async def test_success_keeps_the_result(world: World) -> None:
    record = await world.ended(await world.submit())
    assert (record.state, record.result, record.attempts) == (State.SUCCEEDED, '{"n":1}', 1)
    assert await world.empty()


async def test_permanent_is_dead_at_once(world: World) -> None:
    def act(_: Payload, __: Context) -> None:
        raise Permanent("never")

    world.act = act
    record = await world.ended(await world.submit())
    assert (record.state, record.attempts) == (State.DEAD, 1)
    letter = await world.one_dead()
    assert (letter.reason, letter.body, letter.failure.message) == (Reason.PERMANENT, b'{"n": 1}', "never")
    assert "act" in letter.failure.traceback
    assert await world.empty()


async def test_other_errors_are_retried_by_policy_then_dead(world: World) -> None:
    def act(_: Payload, ctx: Context) -> None:
        raise ValueError(ctx.attempt)

    world.act = act
    record = await world.ended(await world.submit())
    assert (record.state, record.attempts) == (State.DEAD, 3)
    async with asyncio.timeout(10):  # it is counted when it is settled, which is after its record
        while world.runtime.figures().done == 0:
            await asyncio.sleep(0.001)
    assert world.runtime.figures().settled == 3, "two retries are no progress"
    assert [ctx.attempt for ctx in world.runs] == [1, 2, 3]
    assert len({ctx.idempotency_key for ctx in world.runs}) == 1
    assert (await world.one_dead()).reason is Reason.EXHAUSTED


async def test_retry_later_says_when(world: World) -> None:
    def act(_: Payload, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise RetryLater(0.2)
        return "done"

    world.act = act
    record = await world.ended(await world.submit())
    assert (record.state, record.attempts, record.result) == (State.SUCCEEDED, 2, '"done"')


async def test_a_run_that_overstays_is_retried(world: World) -> None:
    release = threading.Event()

    async def overstay(_: Payload, ctx: Context) -> str:
        while ctx.attempt == 1 and not release.is_set():
            await asyncio.sleep(0.01)
            ctx.check()
        return "second"

    world.act = overstay
    record = await world.ended(await world.submit())
    assert (record.result, record.attempts) == ('"second"', 2)


async def test_past_its_deadline_it_is_dead_without_a_run(world: World) -> None:
    record = await world.ended(await world.submit(deadline=SystemClock().wall() - 1))
    assert record.state is State.DEAD
    assert (await world.one_dead()).reason is Reason.EXPIRED
    assert world.runs == []


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"\x00garbage", {}, Reason.MALFORMED),
        (b"{}", {"headrace-version": "99"}, Reason.VERSION),
        (b"{}", {"cloudEvents_specversion": "1.0", "cloudEvents_type": "thing.done"}, Reason.MALFORMED),
        (b"{}", _BARE | {"cloudEvents_type": "thing.undone", "headrace-astray": "15"}, Reason.NO_HANDLER),
        (b'{"n": "x"}', None, Reason.INVALID),
        (b"not json", None, Reason.INVALID),
        (b"x" * 10_000_000, None, Reason.INVALID),
    ],
    ids=["garbage", "unknown version", "missing headers", "no handler", "wrong payload", "not JSON", "10 MB"],
)
async def test_what_cannot_be_read_is_dead_with_its_bytes(
    world: World, body: bytes, headers: dict[str, str] | None, reason: Reason
) -> None:
    await world.submit(body, {"stray": "1", **headers} if headers is not None else None)
    letter = await world.one_dead()
    assert (letter.reason, letter.body) == (reason, body)
    assert world.runs == []
    assert await world.empty()


async def test_a_second_message_of_a_job_that_succeeded_does_not_run(world: World) -> None:
    job_id = await world.submit()
    await world.ended(job_id)
    envelope = Envelope(job_id, "thing.done", SystemClock().wall())
    await world.broker.publish([Message(job_id, "thing.done", envelope.headers(), b'{"n": 1}')])[0]
    assert await world.empty()
    assert len(world.runs) == 1


async def test_progress_is_shown(world: World) -> None:
    release = threading.Event()

    async def slow(_: Payload, ctx: Context) -> None:
        ctx.progress({"done": 1})
        while not release.is_set():
            await asyncio.sleep(0.01)

    world.act = slow
    object.__setattr__(CONTRACT, "time_limit", 20.0)
    try:
        job_id = await world.submit()
        async with asyncio.timeout(10):
            while not ((record := await world.store.job(job_id)) and record.deliveries[0].progress):
                await asyncio.sleep(0.02)
        assert record.deliveries[0].progress == '{"done":1}'
    finally:
        release.set()
        await world.ended(job_id)
        object.__setattr__(CONTRACT, "time_limit", 0.3)


async def test_a_claim_that_is_alive_elsewhere_comes_back_without_counting_an_attempt(world: World) -> None:
    job_id = new_job_id()
    other = Claim("work", job_id, "thing.done", 1.0, 0, 1, "other", 30.0)
    await world.store.claim([other])
    await world.submit(job_id=job_id)
    async with asyncio.timeout(10):
        while not (await world.broker.depth("work")).delayed:
            await asyncio.sleep(0.01)
    assert world.runs == []
    assert await world.store.settle([Outcome(other, State.QUEUED, 2.0)]) == [True]
    again = Envelope(job_id, "thing.done", SystemClock().wall())
    await world.broker.publish([Message(job_id, "thing.done", again.headers(), b'{"n": 1}')])[0]
    record = await world.ended(job_id)
    assert (record.state, record.attempts, [ctx.attempt for ctx in world.runs]) == (State.SUCCEEDED, 1, [1])
    assert await world.store.settle([Outcome(other, State.DEAD, 2.0)]) == [False], "the former owner's word no longer counts"


async def test_a_run_that_never_ended_is_an_attempt_that_failed(world: World) -> None:
    job_id = new_job_id()
    other = Claim("work", job_id, "thing.done", 1.0, 0, 1, "other", 0.2)
    await world.store.claim([other])
    await world.submit(job_id=job_id)
    record = await world.ended(job_id)  # the other never came back: its lease lapsed
    assert (record.state, record.attempts) == (State.SUCCEEDED, 2)
    assert [(ctx.attempt, ctx.envelope.crashes) for ctx in world.runs] == [(2, 1)]


async def test_the_last_attempt_that_never_ended_is_dead(world: World) -> None:
    job_id = new_job_id()
    await world.store.claim([Claim("work", job_id, "thing.done", 1.0, 0, 3, "other", 0.2)])
    await world.submit(job_id=job_id, attempt=3, crashes=2)
    record = await world.ended(job_id)
    assert (record.state, record.failure and record.failure.kind) == (State.DEAD, "crashed")
    assert (await world.one_dead()).reason is Reason.CRASHED
    assert world.runs == []
    assert await world.empty()


async def test_a_drain_lets_the_short_end_and_hands_the_long_back(world: World) -> None:
    release = threading.Event()
    object.__setattr__(CONTRACT, "time_limit", 20.0)

    async def act(payload: Payload, _: Context) -> str:
        while payload.n == 2 and not release.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        return "done"

    world.act = act
    try:
        short, long = await world.submit(), await world.submit(b'{"n": 2}')
        async with asyncio.timeout(10):
            while len(world.runs) < 2:
                await asyncio.sleep(0.01)
        await world.runtime.drain(0.2)
        assert (await world.ended(short)).result == '"done"'
        assert (await world.broker.depth("work")).ready >= 1, "the long one is there for somebody else"
        (answer,) = await world.store.claim([Claim("work", long, "thing.done", 1.0, 0, 1, "next", 1.0)])
        # A coroutine was broken off, and its claim given up; a function runs on, and keeps it until its lease ends.
        assert answer.verdict is (Verdict.GRANTED if world.plain is False else Verdict.HELD)
    finally:
        release.set()
        object.__setattr__(CONTRACT, "time_limit", 0.3)


async def test_a_function_past_its_limit_is_counted_and_its_late_result_counts(world: World) -> None:
    release = threading.Event()

    def overdue() -> float:
        return REGISTRY.get_sample_value("headrace_overdue_threads", {"queue": "work"}) or 0.0

    async def act(_: Payload, ctx: Context) -> str:
        while not release.is_set():
            await asyncio.sleep(0.01)
        return "late"

    world.act = act
    job_id = await world.submit()
    if world.plain:
        async with asyncio.timeout(10):
            while not overdue():
                await asyncio.sleep(0.01)
        release.set()
        assert (await world.ended(job_id)).result == '"late"'
        assert len(world.runs) == 1
        assert overdue() == 0
    else:
        assert (await world.ended(job_id)).state is State.DEAD, "a coroutine is cancelled at its limit, each time"
        assert "TimeLimitExceeded" in (await world.one_dead()).failure.kind


class DeafBroker(SqliteBroker):
    """Counts us as a consumer, has messages ready, and gives none."""

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> SqliteSubscription:
        return super().subscribe(queue, 0, deliver)


async def test_liveness_sees_a_consumer_that_is_given_nothing() -> None:
    catalogue, clock, settings = Catalogue([CONTRACT]), SystemClock(), ConsumerSettings()
    broker = DeafBroker(":memory:", catalogue.topology(), settings, clock)
    await broker.open()
    async with Resources({}, []) as resources:
        runtime = QueueRuntime("work", broker, None, Tools(settings, Registry(catalogue, []), resources, threads, clock))
        await runtime.start()
        liveness = Liveness([runtime], 30.0)

        async def look(times: int) -> list[str]:
            for _ in range(times):
                await liveness.look(runtime)
            return liveness.stalled

        wrong = "work: messages are ready, and none arrives"
        assert await look(5) == [], "an empty queue is no fault"
        envelope = Envelope(new_job_id(), "thing.done", clock.wall())
        await broker.publish([Message(envelope.job_id, "thing.done", envelope.headers(), b"{}")])[0]
        assert await look(2) == []
        assert await look(1) == [wrong]
        runtime.arrived += 1
        assert await look(1) == [], "something came"
        assert await look(3) == [wrong]
        await runtime._subscription.pause()
        assert await look(3) == ["work: the broker can be used, and we are not subscribed"]
        broker._broken = "away"
        assert await look(3) == [], "nobody is subscribed to a broker that is away, and a restart of ours does not mend it"
        broker._broken = None
        await runtime.drain(0.1)
    await broker.close()
