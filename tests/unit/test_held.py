"""Deliveries that are held without being run: suspects, those that cannot be put off, those that wait for the store, those that the
broker gave up. In virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypedDict

import pytest
from prometheus_client import REGISTRY

from consumer import Context
from consumer.app import beyond_drain, check_limits
from consumer.execute import RetryAfter, after_crash
from consumer.liveness import Liveness
from consumer.settings import ConsumerSettings
from core.chance import SeededChance
from core.clock import ManualClock
from core.envelope import Envelope
from core.errors import BadRecord, SettingsError
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import Claim, DeadLetter, Outcome, Verdict
from core.retry import RetryPolicy
from tests.unit.consuming import Inline, Payload, World, consuming

pytestmark = pytest.mark.looptime


class _Amqp(TypedDict):
    broker: str
    consumer_timeout: float


AMQP: _Amqp = {"broker": "amqp://127.0.0.1:1/", "consumer_timeout": 100.0}  # its settings; the broker is in memory all the same


async def _ok(_: Payload, __: Context) -> str:
    return "done"


async def _fail(_: Payload, __: Context) -> None:
    raise ValueError("plain")


# ------------------------------------------------------------------------------------------------------------- suspects


async def test_suspects_run_one_at_a_time_beside_others_and_wait_unclaimed() -> None:
    together: list[int] = []
    running: set[int] = set()

    async def act(payload: Payload, _: Context) -> None:
        running.add(payload.n)
        together.append(sum(n < 0 for n in running))
        await asyncio.sleep(1.0)
        running.discard(payload.n)

    async with consuming(act, concurrency=8, prefetch=32, time_limit=10.0) as world:
        suspects = [await world.submit(b'{"n": %d}' % -n, attempt=2, crashes=1) for n in range(1, 7)]
        await world.until(lambda: running)
        states = [record and record.state for record in [await world.record(one) for one in suspects]]
        assert states.count(State.RUNNING) == 1
        assert states.count(None) == 5, "the others are not claimed"
        others = [await world.submit(b'{"n": %d}' % n) for n in range(1, 20)]
        for one in suspects + others:
            assert (await world.ended(one, 60.0)).state is State.SUCCEEDED
        assert max(together) == 1
        assert await world.empty()


async def test_a_suspect_that_ends_is_none_any_more() -> None:
    async with consuming(_fail) as world:
        await world.ended(await world.submit(attempt=2, crashes=1))
        assert [(ctx.attempt, ctx.envelope.crashes) for ctx in world.runs] == [(2, 1), (3, 0)]


async def test_suspects_leave_a_drain_at_once() -> None:
    async def act(_: Payload, __: Context) -> None:
        await asyncio.sleep(1.0)

    async with consuming(act, time_limit=10.0) as world:
        for _ in range(5):
            await world.submit(attempt=2, crashes=1)
        await world.until(lambda: world.runtime.held == 5)
        await world.runtime.drain(5.0)
        assert len(world.runs) == 1
        assert (await world.broker.depth("work")).ready == 4


def test_crashes_are_counted_in_the_message_to_the_policys_last() -> None:
    clock = ManualClock()
    chance = SeededChance(1, clock)
    envelope = Envelope(new_job_id(), "thing.done", clock.wall())
    for attempt in range(1, 8):
        assert envelope.attempt == attempt
        plan = after_crash(RetryPolicy(), envelope.attempt, chance)
        assert isinstance(plan, RetryAfter)
        envelope = envelope.after_crash()
    last = after_crash(RetryPolicy(), envelope.attempt, chance)
    assert not isinstance(last, RetryAfter)
    assert last.reason is Reason.CRASHED


# --------------------------------------------------------------------------------------------------- a broker that takes nothing


async def test_what_cannot_be_put_off_is_held_and_nothing_new_is_begun() -> None:
    async with consuming(_fail, concurrency=4) as world:
        world.broker.takes = False
        for _ in range(50):
            await world.submit()
        await world.until(lambda: world.runtime.held == 8)
        await asyncio.sleep(600.0)
        assert world.runtime.held == 8, "the prefetch, and no more"
        assert world.runtime.stuck
        assert world.broker.backs == 0, "no delivery was counted"
        assert len(world.runs) <= 8
        assert world.broker.postponed <= 4 * 600 / 2, "by backoff"
        world.broker.takes = True
        assert await world.empty()
        assert len(world.runs) == 150
        assert {letter.reason for letter in await world.dead()} == {Reason.EXHAUSTED}


async def test_it_is_handed_back_at_a_drain_and_when_the_broker_would_take_the_channel() -> None:
    async with consuming(_fail, **AMQP, time_limit=1.0) as world:
        world.broker.takes = False
        await world.submit()
        await world.until(lambda: world.broker.postponed)
        await asyncio.sleep(70.0)
        assert world.broker.backs == 0
        await asyncio.sleep(30.0)  # four fifths of 100 s are over
        assert world.broker.backs >= 1
        backs = world.broker.backs
        await world.runtime.drain(20.0)
        assert world.broker.backs == backs + 1
        assert (await world.broker.depth("work")).ready == 1


async def test_a_lease_elsewhere_is_held_too_while_nothing_can_be_put_off() -> None:
    async with consuming(_ok) as world:
        job_id = new_job_id()
        other = Claim("work", job_id, "thing.done", 1.0, 0, 1, "other", 100.0)
        await world.store.claim([other])
        world.broker.takes = False
        await world.submit(job_id=job_id)
        await world.until(lambda: world.runtime.stuck)
        await world.store.settle([Outcome(other, State.SUCCEEDED, 2.0)])
        await asyncio.sleep(60.0)
        world.broker.takes = True
        assert await world.empty(200.0)
        assert world.broker.backs == 0
        assert world.runs == []


# ------------------------------------------------------------------------------------------------------- waiting too long


async def test_what_waits_too_long_for_a_slot_is_handed_back_before_the_broker_acts() -> None:
    async def act(_: Payload, __: Context) -> None:
        await asyncio.sleep(35.0)

    async with consuming(act, **AMQP, time_limit=40.0) as world:
        for _ in range(8):  # concurrency 4, prefetch 8
            await world.submit()
        await world.until(lambda: world.runtime.held == 8)
        world.runtime.hand_back_overdue()
        assert world.runtime.held == 8, "not yet: they came just now"
        await asyncio.sleep(30.0)
        world.runtime.hand_back_overdue()
        assert world.runtime.held == 8
        object.__setattr__(world.tools.settings, "consumer_timeout", 80.0)
        await world.runtime._subscription.pause()
        world.runtime.hand_back_overdue()
        assert world.runtime.held == 4
        await world.runtime._subscription.resume()


async def test_a_broker_without_a_limit_has_nothing_handed_back_however_long_the_time_limit() -> None:
    async def act(_: Payload, __: Context) -> None:
        await asyncio.sleep(30.0)

    async with consuming(act, concurrency=1, prefetch=4, time_limit=1500.0, claim_lease=100.0) as world:
        watching = asyncio.create_task(Liveness([world.runtime], 1.5).watch(lambda: None))
        jobs = [await world.submit() for _ in range(4)]
        for one in jobs:
            assert (await world.ended(one, 300.0)).state is State.SUCCEEDED
        watching.cancel()
        assert world.broker.backs == 0


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({"consumer_timeout": 400.0}, True),  # of jobs that may take more than a minute none is taken ahead
        ({"consumer_timeout": 1000.0, "prefetch": 64}, True),
        ({"consumer_timeout": 700.0, "prefetch": 64}, False),
        ({"prefetch": 1, "consumer_timeout": 300.0}, False),
    ],
)
async def test_a_limit_that_the_broker_would_cut_is_refused_at_the_start(more: dict[str, Any], fits: bool) -> None:
    async with consuming(_ok, time_limit=300.0) as world:
        settings = ConsumerSettings(broker="amqp://127.0.0.1:1/", **more)
        refused = contextlib.nullcontext() if fits else pytest.raises(SettingsError, match="CONSUMER_TIMEOUT")
        with refused:
            check_limits(settings, world.tools.registry, ["work"])


@pytest.mark.parametrize(("limit", "told"), [(25.0, []), (26.0, [("work", "thing.done", 26.0)])])
async def test_a_limit_beyond_the_drain_is_told(limit: float, told: list[tuple[str, str, float]]) -> None:
    async with consuming(_ok, time_limit=limit) as world:
        assert beyond_drain(ConsumerSettings(drain_seconds=25.0), world.tools.registry, ["work"]) == told


@pytest.mark.parametrize(("limit", "most"), [(60.0, 8), (61.0, 4)])
async def test_of_long_jobs_none_is_taken_ahead(limit: float, most: int) -> None:
    async with consuming(_ok, time_limit=limit, concurrency=4) as world:
        assert world.runtime.credit == most


# --------------------------------------------------------------------------------------------------------- the store away


async def test_while_the_store_is_away_nothing_is_begun_and_the_subscription_stays() -> None:
    async with consuming(_ok) as world:
        first = await world.submit()
        await world.ended(first)
        world.store.refuses = {"claim", "settle"}  # it answers the ping
        for _ in range(50):
            await world.submit()
        most = 0
        for _ in range(600):
            await asyncio.sleep(1.0)
            most = max(most, world.runtime.held)
            assert world.runtime.subscribed
        assert most == 8, "the prefetch, and no more"
        assert world.broker.backs == 0
        assert world.store.calls["claim"] < 1300
        world.store.refuses = set()
        assert await world.empty()
        assert len(world.runs) == 51


async def test_a_consumer_that_starts_without_its_store_takes_nothing_from_others() -> None:
    async with consuming(_ok) as world:
        world.store.away = True
        await world.until(lambda: not world.ledger.up) if not world.ledger.up else None
        await world.submit()
        await world.until(lambda: not world.ledger.up)
        assert world.runtime.paused
        world.store.away = False
        assert await world.empty()


async def test_an_outcome_under_way_at_a_drain_is_neither_overtaken_nor_handed_back() -> None:
    async with consuming(_ok) as world:
        world.store.slow.add("settle")
        job_id = await world.submit()
        await world.until(lambda: world.store.calls.get("settle"))
        await world.runtime.drain(3.0)
        assert world.broker.backs == 0
        assert world.store.calls["settle"] == 1, "no QUEUED behind it"
        world.store.gate.set()
        await asyncio.sleep(0.1)
        record = await world.record(job_id)
        assert record is not None
        assert record.state is State.SUCCEEDED


async def test_an_outcome_that_waits_for_a_store_that_is_away_keeps_no_drain() -> None:
    async with consuming(_ok) as world:
        world.store.refuses = {"settle", "ping"}
        job_id = await world.submit()
        await world.until(lambda: world.runs and not world.ledger.up)
        await asyncio.wait_for(world.runtime.drain(3.0), 20.0)
        assert world.broker.backs == 1, "somebody else runs it again"
        world.store.refuses = set()
        record = await world.record(job_id)
        assert record is not None
        assert record.state is State.RUNNING, "no outcome behind the hand-back"


async def test_what_comes_before_the_broker_knows_of_a_drain_still_runs() -> None:
    async with consuming(_ok) as world:
        draining = asyncio.create_task(world.runtime.drain(5.0))
        job_id = await world.submit()
        await draining
        record = await world.record(job_id)
        depth = await world.broker.depth("work")
        assert (record is not None and record.state is State.SUCCEEDED) or depth.ready == 1


# ------------------------------------------------------------------------------------------------------------ bad records


@pytest.mark.parametrize("command", ["claim", "settle"])
async def test_a_record_that_cannot_be_used_is_a_dead_letter_of_its_own(command: str) -> None:
    async with consuming(_ok, concurrency=16) as world:
        bad = new_job_id()

        def broken(name: str, item: Any) -> Exception | None:
            job_id = item.job_id if name == "claim" else item.claim.job_id if name == "settle" else ""
            return BadRecord("it is a list") if name == command and job_id == bad else None

        world.store.bad = broken
        names = [new_job_id() for _ in range(10)]
        jobs = [await world.submit(job_id=one) for one in [*names[:5], bad, *names[5:]]]
        for one in jobs:
            if one != bad:
                assert (await world.ended(one)).state is State.SUCCEEDED
        (letter,) = await world.until(world.dead)
        assert (letter.reason, letter.job_id, letter.body) == (Reason.RECORD, bad, b'{"n": 1}')
        assert letter.headers["cloudEvents_id"] == bad
        assert await world.empty()
        assert world.ledger.up
        assert world.ledger._held == {}


async def test_a_letter_that_cannot_be_written_as_it_is_is_kept_plainer() -> None:
    async with consuming(_ok) as world:
        world.store.bad = lambda name, item: BadRecord("no") if name == "bury" and item.failure.kind != "record" else None
        await world.submit(b"\xff", {"stray": "1"})
        (letter,) = await world.until(world.dead)
        assert (letter.reason, letter.body, letter.headers) == (Reason.MALFORMED, b"\xff", {"stray": "1"})
        assert await world.empty()


async def test_an_error_of_the_store_that_nobody_foresaw_ends_as_a_crash_that_counts() -> None:
    async with consuming(_ok, retry=RetryPolicy(2, 0.1, 0.2)) as world:
        world.store.bad = lambda name, item: ZeroDivisionError("a fault of ours") if name == "settle" and item.result else None
        record = await world.ended(await world.submit(), 300.0)
        assert (record.state, record.failure and record.failure.kind) == (State.DEAD, "crashed")
        assert len(world.runs) == 2
        assert await world.empty()


# ------------------------------------------------------------------------------------------------- what the broker gave up


async def _give_up(world: World, job_id: str, **more: Any) -> None:
    await world.submit(job_id=job_id, queue="work.dead", **more)


async def test_what_the_broker_gave_up_is_dead_under_its_claim() -> None:
    async with consuming(_ok) as world:
        job_id = new_job_id()
        await _give_up(world, job_id)
        assert (await world.ended(job_id)).state is State.DEAD
        (letter,) = await world.dead()
        assert (letter.reason, letter.queue, letter.job_id) == (Reason.REJECTED, "work", job_id)


async def test_a_job_that_is_still_running_gets_no_dead_letter() -> None:
    async def slow(_: Payload, __: Context) -> str:
        await asyncio.sleep(100.0)
        return "done"

    async with consuming(slow, time_limit=200.0) as world:
        job_id = await world.submit()
        await world.until(lambda: world.runs)
        await _give_up(world, job_id)
        assert (await world.ended(job_id, 300.0)).result == '"done"'
        await asyncio.sleep(60.0)
        assert await world.dead() == []
        assert (await world.broker.depth("work.dead")).unacked == 0


async def test_a_job_whose_run_never_ended_gets_its_dead_letter_when_the_lease_is_over() -> None:
    async with consuming(_ok) as world:
        job_id = new_job_id()
        await world.store.claim([Claim("work", job_id, "thing.done", 1.0, 0, 1, "other", 50.0)])
        await _give_up(world, job_id)
        await asyncio.sleep(40.0)
        assert await world.dead() == []
        assert (await world.ended(job_id, 300.0)).state is State.DEAD


async def test_a_job_that_had_ended_gets_no_dead_letter() -> None:
    async with consuming(_ok) as world:
        job_id = await world.submit()
        await world.ended(job_id)
        await _give_up(world, job_id)
        await asyncio.sleep(60.0)
        assert await world.dead() == []
        assert (await world.broker.depth("work.dead")).ready == 0


async def test_a_retry_that_was_recorded_and_never_published_is_published() -> None:
    async with consuming(_ok) as world:
        job_id = new_job_id()
        other = Claim("work", job_id, "thing.done", 1.0, 0, 1, "other", 50.0)
        await world.store.claim([other])
        now = world.clock.wall()
        await world.store.settle([Outcome(other, State.RETRYING, now, next_at=now + 30.0)])
        world.broker.takes = False
        await _give_up(world, job_id)
        await asyncio.sleep(100.0)
        assert world.runs == []
        world.broker.takes = True
        record = await world.ended(job_id, 300.0)
        assert (record.state, record.attempts) == (State.SUCCEEDED, 2)


async def test_what_has_no_envelope_is_buried_once() -> None:
    async with consuming(_ok) as world:
        await world.submit(b"junk", {"stray": "1"}, queue="work.dead")
        (letter,) = await world.until(world.dead)
        await asyncio.sleep(60.0)
        assert (letter.body, letter.job_id, len(await world.dead())) == (b"junk", None, 1)
        assert world.store.calls["bury"] == 1


async def test_what_cannot_be_moved_is_held_and_not_handed_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ 4 drops it after 20 times."""
    async with consuming(_ok) as world:
        bury, left = world.ledger.bury, [RuntimeError("unforeseen")] * 8

        async def breaks(dead: DeadLetter) -> None:
            if left:
                raise left.pop()
            await bury(dead)

        monkeypatch.setattr(world.ledger, "bury", breaks)
        await world.submit(b"junk", {"stray": "1"}, queue="work.dead")
        await world.until(world.dead, 300.0)
        assert (left, world.broker.backs) == ([], 0)


# --------------------------------------------------------------------------------------------- handlers that are elsewhere


async def test_what_has_no_handler_here_comes_back_for_ten_minutes_and_counts_no_attempt() -> None:
    """In a rollout old processes take jobs that only new ones can run."""
    async with consuming(_ok) as world:
        job_id = new_job_id()
        began = asyncio.get_running_loop().time()
        undone = Envelope(job_id, "thing.undone", world.clock.wall(), attempt=2)
        await world.submit(headers=undone.headers())
        await asyncio.sleep(400.0)
        assert await world.dead() == []
        assert await world.record(job_id) is None, "it is left unclaimed, for whoever has a handler"
        (letter,) = await world.until(world.dead, 400.0)
        assert (letter.reason, letter.attempts) == (Reason.NO_HANDLER, 2)
        assert 450.0 < asyncio.get_running_loop().time() - began < 800.0


async def test_what_went_astray_runs_where_its_handler_is() -> None:
    async with consuming(_ok) as world:
        job_id = await world.submit(attempt=2, astray=9)
        assert (await world.ended(job_id)).attempts == 2


# ------------------------------------------------------------------------------------------------------ handlers that stay


async def test_a_coroutine_that_swallows_its_cancellation_ends_no_later_than_the_drain() -> None:
    over = asyncio.Event()

    async def stay(_: Payload, __: Context) -> None:
        while not over.is_set():
            try:
                await asyncio.sleep(1.0)
            except asyncio.CancelledError:
                continue

    async with consuming(stay, time_limit=1000.0) as world:
        job_id = await world.submit()
        await world.until(lambda: world.runs)
        await asyncio.wait_for(world.runtime.drain(3.0), 60.0)
        assert (await world.broker.depth("work")).ready == 1
        (answer,) = await world.store.claim([Claim("work", job_id, "thing.done", 1.0, 0, 1, "next", 1.0)])
        assert answer.verdict is not Verdict.GRANTED, "beside a run that goes on nobody may begin a second one"
        over.set()
        await asyncio.sleep(5.0)


async def test_a_run_whose_claim_was_taken_over_is_broken_off_and_dropped_once_the_other_has_ended() -> None:
    ended: list[str] = []

    async def act(_: Payload, __: Context) -> None:
        try:
            await asyncio.sleep(100.0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise ValueError("an error of the cancellation's making") from None

    async with consuming(act, time_limit=200.0) as world:
        job_id = await world.submit()
        await world.until(lambda: world.runs)
        newer = Claim("work", job_id, "thing.done", 1.0, 0, 2, "newer", 100.0)
        await world.store._write(lambda c: c.execute("UPDATE deliveries SET lease_until = 0").rowcount)
        await world.store.claim([newer])
        await world.until(lambda: ended)
        await asyncio.sleep(5.0)
        record = await world.record(job_id)
        assert record is not None
        assert (record.state, record.attempts) == (State.RUNNING, 2)
        await world.store.settle([Outcome(newer, State.SUCCEEDED, 2.0)])
        await asyncio.sleep(200.0)  # it comes back when the other's lease would be over
        assert await world.empty()
        assert len(world.runs) == 1


async def test_a_plain_function_runs_the_same_way_in_a_simulation() -> None:
    def act(payload: Payload, ctx: Context) -> int:
        if ctx.attempt == 1:
            raise StopIteration
        return payload.n

    async with consuming(act, plain=True, threads=lambda queue, most: Inline()) as world:
        record = await world.ended(await world.submit())
        assert (record.result, record.attempts) == ("1", 2)


async def test_a_run_that_stays_long_after_its_time_limit_ends_its_process() -> None:
    over = asyncio.Event()
    reasons: list[str] = []

    async def stubborn(_: Payload, __: Context) -> None:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    async with consuming(stubborn, concurrency=1, time_limit=5.0) as world:
        liveness = Liveness([world.runtime], 30.0, reasons.append)
        watching = asyncio.create_task(liveness.watch(lambda: None))
        await world.submit()
        await asyncio.sleep(30.0)
        assert (reasons, liveness.stalled) == ([], []), "it may yet end"
        await world.until(lambda: reasons, 30.0)
        assert reasons == ["work: 1 runs have not ended 30 s after their time limit"]
        assert liveness.stalled == reasons
        await asyncio.sleep(60.0)
        assert len(reasons) == 1, "it is told once"
        watching.cancel()
        over.set()


async def test_the_wait_of_a_retry_or_a_replay_is_not_observed() -> None:
    """They wait for their time, not for a consumer; as 0 s they would make the mean look better than it is."""

    def observed() -> tuple[float, float]:
        count, total = (REGISTRY.get_sample_value(f"headrace_wait_seconds_{what}", {"queue": "work"}) for what in ("count", "sum"))
        return count or 0.0, total or 0.0

    async with consuming(_ok) as world:
        before = observed()
        kinds: list[dict[str, Any]] = [{}, {"replay": 1}, {"attempt": 2}]
        for more in kinds:
            await world.ended(await world.submit(accepted_at=world.clock.wall() - 5.0, **more))
        count, total = (now - then for now, then in zip(observed(), before, strict=True))
        assert count == 1
        assert total == pytest.approx(5.0, abs=1.0)
