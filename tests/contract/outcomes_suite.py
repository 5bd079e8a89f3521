"""The contract of every outcome store. An adapter's module subclasses `OutcomesContract` and gives the `store` fixture."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from core.identity import new_job_id
from core.model import Reason, State
from core.ports import Claim, DeadLetter, Failure, Outcome, OutcomeStore, Queued, Verdict

LEASE = 1.0
AT = 1_750_000_000.0


def claim(job_id: str, token: str = "t1", *, queue: str = "email", attempt: int = 1, replay: int = 0) -> Claim:
    return Claim(queue, job_id, "user.registered", AT, replay, attempt, token, LEASE)


def outcome(of: Claim, state: State, **more: Any) -> Outcome:
    return Outcome(of, state, AT + 5, **more)


def letter(
    dead_id: str, *, queue: str = "email", job_type: str | None = "user.registered", died_at: float = AT, **more: Any
) -> DeadLetter:
    body, headers = b"\x00\xffbytes", {"headrace-version": "9", "ü": "世"}
    return DeadLetter(dead_id, queue, Reason.MALFORMED, died_at, headers, body, job_type=job_type, **more)


PassTime = Callable[[float], Awaitable[None]]


class OutcomesContract:
    """Each test gets an opened, empty store, and `pass_time`, which lets the store's clock go on."""

    async def _granted(self, store: OutcomeStore, asked: Claim) -> None:
        assert [a.verdict for a in await store.claim([asked])] == [Verdict.GRANTED]

    async def _verdict(self, store: OutcomeStore, asked: Claim) -> Verdict:
        return (await store.claim([asked]))[0].verdict

    async def test_a_queued_job_is_shown(self, store: OutcomeStore) -> None:
        job = new_job_id()
        await store.queued([Queued(job, "user.registered", ("email", "points"), AT)])
        record = await store.job(job)
        assert record is not None
        assert (record.job_id, record.job_type, record.accepted_at) == (job, "user.registered", AT)
        assert [(d.queue, d.state, d.attempts) for d in record.deliveries] == [
            ("email", State.QUEUED, 0),
            ("points", State.QUEUED, 0),
        ]
        assert await store.job(new_job_id()) is None

    async def test_a_late_queued_never_overwrites(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await store.queued([Queued(asked.job_id, "user.registered", ("email",), AT)])
        await store.unconfirmed([Queued(asked.job_id, "user.registered", ("email",), AT)])
        assert await self._state(store, asked) is State.RUNNING
        assert await store.settle([outcome(asked, State.SUCCEEDED, result='{"n":1}')]) == [True]
        await store.queued([Queued(asked.job_id, "user.registered", ("email",), AT)])
        assert await self._state(store, asked) is State.SUCCEEDED

    async def test_unconfirmed_moves_forward(self, store: OutcomeStore) -> None:
        record = Queued(new_job_id(), "user.registered", ("email",), AT)
        await store.unconfirmed([record])
        assert await self._state(store, claim(record.job_id)) is State.UNCONFIRMED
        await store.queued([record])
        assert await self._state(store, claim(record.job_id)) is State.QUEUED
        await store.unconfirmed([record])
        await self._granted(store, claim(record.job_id))

    async def test_a_live_claim_is_held_and_a_lapsed_one_is_a_crash(self, store: OutcomeStore, pass_time: PassTime) -> None:
        first = claim(new_job_id())
        second = replace(first, token="t2")
        await self._granted(store, first)
        (answer,) = await store.claim([second])
        assert answer.verdict is Verdict.HELD
        assert 0 < answer.seconds <= LEASE
        await pass_time(LEASE + 0.1)
        assert await self._verdict(store, second) is Verdict.CRASHED
        assert await self._verdict(store, replace(first, token="t3")) is Verdict.HELD, "one alone settles the crash"
        assert await store.renew([first, second]) == [False, True]
        assert await store.settle([outcome(first, State.SUCCEEDED)]) == [False]
        assert await store.progress(first, "1") is False
        assert await store.settle([outcome(second, State.SUCCEEDED)]) == [True]

    async def test_a_crash_whose_answer_was_lost_is_told_again(self, store: OutcomeStore, pass_time: PassTime) -> None:
        first = claim(new_job_id())
        await self._granted(store, first)
        await pass_time(LEASE + 0.1)
        second = replace(first, token="t2")
        assert await self._verdict(store, second) is Verdict.CRASHED
        assert await store.renew([second]) == [True]
        assert await self._verdict(store, second) is Verdict.CRASHED, "it is not to be run: that attempt is over"
        assert await store.settle([outcome(second, State.RETRYING, next_at=AT)]) == [True]
        third = replace(first, attempt=2, token="t3")
        await self._granted(store, third)
        await self._granted(store, third)

    async def test_a_renewed_claim_stays(self, store: OutcomeStore, pass_time: PassTime) -> None:
        first = claim(new_job_id())
        await self._granted(store, first)
        for _ in range(3):
            await pass_time(LEASE * 0.5)
            assert await store.renew([first]) == [True]
        assert await self._verdict(store, replace(first, token="t2")) is Verdict.HELD

    async def test_the_same_claim_and_the_same_outcome_again_are_accepted_again(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await self._granted(store, asked)
        assert await store.settle([outcome(asked, State.SUCCEEDED), outcome(asked, State.SUCCEEDED)]) == [True, True]

    @pytest.mark.parametrize("state", [State.SUCCEEDED, State.DEAD, State.CANCELLED])
    async def test_what_has_ended_is_settled(self, store: OutcomeStore, state: State) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await store.settle([outcome(asked, state)])
        assert await self._verdict(store, replace(asked, token="t2")) is Verdict.SETTLED
        assert await store.settle([outcome(asked, State.QUEUED)]) == [False], "a state only moves forward"
        assert await self._state(store, asked) is state

    async def test_a_retry_waits_then_runs_and_makes_the_old_message_stale(self, store: OutcomeStore) -> None:
        first = claim(new_job_id())
        await self._granted(store, first)
        due = outcome(first, State.RETRYING, next_at=4e9, failure=Failure("ValueError", "no", "trace"))
        assert await store.settle([due]) == [True]
        (answer,) = await store.claim([replace(first, token="t2")])
        assert answer.verdict is Verdict.WAITING
        assert answer.seconds > 0
        second = replace(first, token="t3", attempt=2)
        await self._granted(store, second)
        assert await self._verdict(store, replace(first, token="t4")) is Verdict.HELD
        assert await store.settle([outcome(second, State.RETRYING, next_at=4e9)]) == [True]
        assert await self._verdict(store, replace(first, token="t5")) is Verdict.STALE

    @pytest.mark.parametrize("wrong", [-1e6, 0.0, 1e6])
    async def test_a_retry_is_due_after_its_delay_whatever_the_writers_clock_says(self, store: OutcomeStore, wrong: float) -> None:
        first = claim(new_job_id())
        await self._granted(store, first)
        at = AT + wrong
        await store.settle([Outcome(first, State.RETRYING, at, next_at=at + 30)])
        (answer,) = await store.claim([replace(first, token="t2")])
        assert answer.verdict is Verdict.WAITING
        assert 0 < answer.seconds <= 30

    async def test_a_claim_given_up_can_be_claimed_at_once(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        assert await store.settle([outcome(asked, State.QUEUED)]) == [True]
        await self._granted(store, replace(asked, token="t2"))

    async def test_one_of_many_claimers_wins(self, store: OutcomeStore) -> None:
        job = new_job_id()
        answers = await asyncio.gather(*(store.claim([claim(job, f"t{n}")]) for n in range(20)))
        assert sum(a[0].verdict is Verdict.GRANTED for a in answers) == 1

    async def test_a_batch_works_in_its_order(self, store: OutcomeStore) -> None:
        job, other = new_job_id(), new_job_id()
        answers = await store.claim([claim(job), claim(job, "t2"), claim(other), claim(job, queue="points")])
        assert [a.verdict for a in answers] == [Verdict.GRANTED, Verdict.HELD, Verdict.GRANTED, Verdict.GRANTED]

    async def test_the_record_shows_times_result_failure_and_progress(self, store: OutcomeStore) -> None:
        good, bad = claim(new_job_id()), claim(new_job_id(), "t2")
        await store.claim([good, bad])
        assert await store.progress(good, '{"done":3}')
        failure = Failure("ValueError", "no", "trace")
        succeeded = outcome(good, State.SUCCEEDED, result='{"n":1}')
        await store.settle([succeeded, outcome(bad, State.RETRYING, failure=failure, next_at=AT + 9)])
        first, second = await store.job(good.job_id), await store.job(bad.job_id)
        assert first is not None
        assert second is not None
        (done,), (retrying,) = first.deliveries, second.deliveries
        assert (done.state, done.result, done.progress) == (State.SUCCEEDED, '{"n":1}', '{"done":3}')
        assert (done.ended_at, done.attempts) == (AT + 5, 1)
        assert done.started_at is not None
        assert (retrying.state, retrying.failure, retrying.next_at) == (State.RETRYING, failure, AT + 9)

    async def test_dead_writes_the_letter_too(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        dead = letter("d1", job_id=asked.job_id, failure=Failure("E", "m", "t"), attempts=2)
        assert await store.settle([outcome(replace(asked, token="other"), State.DEAD, dead=replace(dead, dead_id="d2"))]) == [False]
        assert await store.settle([outcome(asked, State.DEAD, dead=dead)]) == [True]
        assert await store.dead_letter("d1") == dead
        assert await store.settle([outcome(asked, State.DEAD, dead=dead)]) == [True]
        assert len((await store.dead_letters()).items) == 1
        assert await store.dead_letter("d2") is None

    async def test_burying_twice_leaves_one(self, store: OutcomeStore) -> None:
        await store.bury([letter("d1"), letter("d1", died_at=AT + 1), letter("d2", job_type=None)])
        page = await store.dead_letters()
        assert {item.dead_id for item in page.items} == {"d1", "d2"}
        written = await store.dead_letter("d1")
        assert written is not None
        assert written.died_at == AT

    async def test_a_letter_that_dies_again_after_its_replay_is_there_anew(self, store: OutcomeStore) -> None:
        await store.bury([letter("d1")])
        assert await store.replayed("d1", AT + 1, 1)
        await store.bury([letter("d1", died_at=AT + 2)])
        again = await store.dead_letter("d1")
        assert again is not None
        assert (again.died_at, again.replayed_at) == (AT + 2, None)
        assert [item.dead_id for item in (await store.dead_letters()).items] == ["d1"]

    async def test_burying_changes_no_delivery(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await store.bury([letter("d1", job_id=asked.job_id)])
        assert await self._state(store, asked) is State.RUNNING
        await store.settle([outcome(asked, State.SUCCEEDED)])
        assert await self._state(store, asked) is State.SUCCEEDED

    @pytest.mark.parametrize("state", [State.SUCCEEDED, State.RETRYING, State.DEAD, State.QUEUED])
    async def test_an_outcome_whose_claim_was_forgotten_is_written_anew(self, store: OutcomeStore, state: State) -> None:
        asked = claim(new_job_id(), attempt=3)
        dead = letter("d1", job_id=asked.job_id) if state is State.DEAD else None
        ended = outcome(asked, state, dead=dead, next_at=4e9 if state is State.RETRYING else None)
        assert await store.settle([ended]) == [True]
        assert await store.settle([ended]) == [True]
        record = await store.job(asked.job_id)
        assert record is not None
        assert (record.job_type, record.accepted_at) == (asked.job_type, AT)
        assert [(d.state, d.attempts) for d in record.deliveries] == [(state, 3)]
        assert (await store.dead_letter("d1") is not None) is (dead is not None)
        expected = {State.RETRYING: Verdict.WAITING, State.QUEUED: Verdict.GRANTED}
        assert await self._verdict(store, replace(asked, token="t2")) is expected.get(state, Verdict.SETTLED)

    @pytest.mark.parametrize("known", ["queued", "unconfirmed", "an earlier attempt", "a retry of an earlier attempt"])
    async def test_an_outcome_is_written_over_what_is_further_back(self, store: OutcomeStore, known: str) -> None:
        asked = claim(new_job_id(), attempt=2)
        before = replace(asked, attempt=1, token="before")
        record = [Queued(asked.job_id, asked.job_type, ("email",), AT)]
        match known:
            case "queued":
                await store.queued(record)
            case "unconfirmed":
                await store.unconfirmed(record)
            case _:
                await self._granted(store, before)
        if known == "a retry of an earlier attempt":
            await store.settle([outcome(before, State.RETRYING, next_at=AT)])
        assert await store.settle([outcome(asked, State.SUCCEEDED, result="1")]) == [True]
        assert await self._state(store, asked) is State.SUCCEEDED

    async def test_a_renewal_writes_a_forgotten_claim_anew(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        assert await store.renew([asked]) == [True]
        assert await self._state(store, asked) is State.RUNNING
        assert await self._verdict(store, replace(asked, token="t2")) is Verdict.HELD
        assert await store.settle([outcome(asked, State.SUCCEEDED)]) == [True]
        assert await store.renew([asked]) == [False], "it has ended"

    async def test_what_somebody_else_has_taken_over_is_refused(self, store: OutcomeStore, pass_time: PassTime) -> None:
        first = claim(new_job_id())
        await self._granted(store, first)
        await pass_time(LEASE + 0.1)
        second = replace(first, token="t2")
        assert await self._verdict(store, second) is Verdict.CRASHED
        assert await store.settle([outcome(second, State.RETRYING, next_at=AT)]) == [True]
        for state in (State.SUCCEEDED, State.RETRYING, State.DEAD, State.QUEUED):
            dead = letter("late", job_id=first.job_id) if state is State.DEAD else None
            assert await store.settle([outcome(first, state, dead=dead)]) == [False]
        assert await store.renew([first]) == [False]
        assert await store.dead_letter("late") is None
        third = replace(first, token="t3", attempt=2)
        await self._granted(store, third)
        assert await store.settle([outcome(first, State.SUCCEEDED)]) == [False]
        assert await store.settle([outcome(third, State.SUCCEEDED)]) == [True]

    async def test_a_hand_back_that_overtook_its_outcome_does_not_undo_it(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        assert await store.settle([outcome(asked, State.QUEUED)]) == [True]
        assert await store.renew([asked]) == [False], "it was given up"
        assert await store.settle([outcome(asked, State.SUCCEEDED)]) == [True]
        assert await store.settle([outcome(asked, State.QUEUED)]) == [False]
        assert await self._verdict(store, replace(asked, token="t2")) is Verdict.SETTLED

    async def test_a_replay_waits_for_the_run_of_the_message_before_it(self, store: OutcomeStore, pass_time: PassTime) -> None:
        old = claim(new_job_id())
        await self._granted(store, old)
        again = replace(old, token="t2", replay=1)
        (answer,) = await store.claim([again])
        assert answer.verdict is Verdict.HELD
        assert answer.seconds > 0
        await pass_time(LEASE + 0.1)
        await self._granted(store, again)
        assert await self._verdict(store, replace(old, token="t3")) is Verdict.STALE

    async def test_the_message_before_a_replay_is_stale_while_the_replay_is_queued(self, store: OutcomeStore) -> None:
        old = claim(new_job_id())
        await self._granted(store, old)
        await store.settle([outcome(old, State.DEAD, dead=letter("d1", job_id=old.job_id))])
        assert await store.replayed("d1", AT + 7, 1)
        assert await self._verdict(store, replace(old, token="t2")) is Verdict.STALE

    async def test_the_message_before_a_hand_back_is_stale(self, store: OutcomeStore) -> None:
        second = claim(new_job_id(), attempt=2)
        await self._granted(store, second)
        await store.settle([outcome(second, State.QUEUED)])
        assert await self._verdict(store, replace(second, token="t2", attempt=1)) is Verdict.STALE
        await self._granted(store, replace(second, token="t3"))

    async def test_a_later_message_runs_although_its_former_run_never_ended(self, store: OutcomeStore, pass_time: PassTime) -> None:
        first = claim(new_job_id())
        await self._granted(store, first)
        await pass_time(LEASE + 0.1)
        await self._granted(store, replace(first, token="t2", attempt=2))

    async def test_a_renewed_record_outlives_its_retention(self, store: OutcomeStore, forget_old: PassTime) -> None:
        """The fixture `forget_old` lets the given number of the 60 s of retention pass, and purges."""
        asked, old = claim(new_job_id()), claim(new_job_id(), "t2")
        await store.claim([asked, old])
        await store.settle([outcome(old, State.SUCCEEDED)])
        await forget_old(40.0)
        assert await store.renew([asked]) == [True]
        await forget_old(40.0)
        assert await store.job(old.job_id) is None
        assert await self._state(store, asked) is State.RUNNING

    async def test_a_retry_that_is_due_after_the_retention_is_remembered(self, store: OutcomeStore, forget_old: PassTime) -> None:
        first = claim(new_job_id())
        other = claim(first.job_id, queue="points")
        await store.claim([first, other])
        await store.settle([outcome(first, State.RETRYING, next_at=AT + 5 + 90)])
        await store.settle([outcome(other, State.SUCCEEDED)])
        await forget_old(70.0)
        assert await self._verdict(store, replace(first, token="t2")) is Verdict.WAITING

    async def test_pages_of_dead_letters_newest_first(self, store: OutcomeStore) -> None:
        await store.bury([letter(f"d{n:02}", died_at=AT + n // 2, queue=("email", "points")[n % 2]) for n in range(25)])
        seen, cursor = [], None
        while True:
            page = await store.dead_letters(cursor=cursor, limit=10)
            seen += [item.dead_id for item in page.items]
            if (cursor := page.cursor) is None:
                break
        assert seen == [f"d{n:02}" for n in range(24, -1, -1)]
        assert len((await store.dead_letters(queue="points")).items) == 12
        assert not (await store.dead_letters(job_type="nothing")).items
        with pytest.raises(ValueError, match=r".*"):
            await store.dead_letters(cursor="garbage")
        for odd in ("", "~", "1~", "nan~x", "inf~x", "1_0~x", " 1~x", "\u0661~x", "1e999~x\x00", "0x1~x", "1~" + "x" * 10_000):
            with contextlib.suppress(ValueError):
                await store.dead_letters(cursor=odd)  # a page, or ValueError; the store is not away

    async def test_replayed_lets_the_next_replay_run(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await store.settle([outcome(asked, State.DEAD, dead=letter("d1", job_id=asked.job_id))])
        assert await store.replayed("d1", AT + 7, 1)
        written = await store.dead_letter("d1")
        assert written is not None
        assert written.replayed_at == AT + 7
        assert await self._state(store, asked) is State.QUEUED
        await self._granted(store, claim(asked.job_id, "t2", replay=1))
        assert await self._verdict(store, replace(asked, token="t3")) is Verdict.STALE
        assert not await store.replayed("none", AT, 1)

    async def test_a_replay_that_runs_before_it_is_marked(self, store: OutcomeStore) -> None:
        asked = claim(new_job_id())
        await self._granted(store, asked)
        await store.settle([outcome(asked, State.DEAD, dead=letter("d1", job_id=asked.job_id))])
        again = claim(asked.job_id, "t2", replay=1)
        await self._granted(store, again)
        await store.settle([outcome(again, State.SUCCEEDED)])
        assert await store.replayed("d1", AT + 7, 1)
        assert await self._state(store, asked) is State.SUCCEEDED

    async def test_dropped_is_gone(self, store: OutcomeStore) -> None:
        await store.bury([letter("d1")])
        assert await store.drop("d1")
        assert not await store.drop("d1")
        assert await store.dead_letter("d1") is None
        assert not (await store.dead_letters(queue="email")).items

    async def _state(self, store: OutcomeStore, of: Claim) -> State:
        record = await store.job(of.job_id)
        assert record is not None
        return next(d.state for d in record.deliveries if d.queue == of.queue)
