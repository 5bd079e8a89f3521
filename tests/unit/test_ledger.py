"""The ledger: leases beside outcomes, and a store that is unavailable, comes back, and comes and goes."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from consumer.ledger import Ledger
from consumer.presence import IDLE, LAST_PAUSE
from core.errors import BadRecord, StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import Claim, Outcome, Verdict
from core.settings import Settings
from tests.unit.consuming import Store
from tests.unit.controlled import LoopClock

pytestmark = pytest.mark.looptime

_numbers = itertools.count()


class Opened:
    def __init__(self, ledger: Ledger, store: Store) -> None:
        self.ledger = ledger
        self.store = store
        self.lost: list[str] = []

    async def claim(self, job_id: str | None = None) -> Claim:
        asked = Claim("work", job_id or new_job_id(), "thing.done", 0.0, 0, 1, f"token {next(_numbers)}", 3.0)
        await self.ledger.claim(asked, lambda: self.lost.append(asked.job_id))
        return asked


@asynccontextmanager
async def opened(give_up: float | None = 60.0, retention: float = 604_800.0) -> AsyncIterator[Opened]:
    """Not a fixture: its timers must start inside the virtual time of the test."""
    store = Store(":memory:", Settings(retention=retention), LoopClock())
    ledger = Ledger(store, lease=3.0, give_up=give_up)
    await ledger.open()
    try:
        yield Opened(ledger, store)
    finally:
        await ledger.close()


def _outcome(claim: Claim) -> Outcome:
    return Outcome(claim, State.SUCCEEDED, 1.0)


async def test_a_renewal_beside_the_outcome_is_no_loss() -> None:
    async with opened() as it:
        claim = await it.claim()
        it.store.slow.add("renew")
        await asyncio.sleep(1.1)  # a renewal is under way, with this claim in it
        assert await it.ledger.settle(_outcome(claim))
        it.store.gate.set()
        await asyncio.sleep(3.0)
        assert it.lost == []
        assert it.store.calls["renew"] >= 1


async def test_a_claim_that_was_taken_over_is_told() -> None:
    async with opened() as it:
        claim = await it.claim()
        await it.store.settle([_outcome(claim)])  # somebody else ended it
        await asyncio.sleep(3.0)
        assert it.lost == [claim.job_id]


async def test_a_claim_that_the_store_forgot_is_written_anew_and_not_lost() -> None:
    async with opened() as it:
        claim = await it.claim()
        await it.store._write(lambda c: c.execute("DELETE FROM deliveries").rowcount)
        await asyncio.sleep(2.0)
        job = await it.store.job(claim.job_id)
        assert job is not None
        assert job.deliveries[0].state is State.RUNNING
        assert it.lost == []
        assert await it.ledger.settle(_outcome(claim))


async def test_a_run_that_is_longer_than_the_retention_keeps_its_claim() -> None:
    async with opened(retention=60.0) as it:
        claim = await it.claim()
        for _ in range(30):
            await asyncio.sleep(10.0)
            await it.store.purge()
        assert it.lost == []
        assert await it.ledger.settle(_outcome(claim))


async def test_renewals_are_bounded_commands() -> None:
    async with opened() as it:
        await asyncio.gather(*(it.claim() for _ in range(3000)))
        it.store.calls.clear()
        await asyncio.sleep(1.5)
        assert it.store.calls["renew"] == 6
        assert it.lost == []


async def test_one_record_that_cannot_be_renewed_is_one_claims_trouble() -> None:
    async with opened() as it:
        bad, good = await it.claim(), await it.claim()
        it.store.bad = lambda name, item: BadRecord("broken") if name == "renew" and item.job_id == bad.job_id else None
        await asyncio.sleep(10.0)
        assert it.ledger.up
        assert it.lost == []
        (answer,) = await it.store.claim([Claim("work", good.job_id, "thing.done", 0.0, 0, 1, "other", 3.0)])
        assert answer.verdict is Verdict.HELD


async def test_outcomes_wait_until_the_store_is_back() -> None:
    async with opened() as it:
        told: list[bool] = []
        it.ledger.changed.append(told.append)
        claim = await it.claim()
        it.store.away = True
        settling = asyncio.ensure_future(it.ledger.settle(_outcome(claim)))
        await asyncio.sleep(5.0)
        assert (it.ledger.up, settling.done(), told) == (False, False, [False])
        it.store.away = False
        assert await settling
        assert (it.ledger.up, told) == (True, [False, True])


async def test_claims_are_renewed_before_anybody_hears_that_the_store_is_back() -> None:
    async with opened() as it:
        claim = await it.claim()
        seen: list[Verdict] = []

        def back(up: bool) -> None:
            if up:
                asking = Claim("work", claim.job_id, "thing.done", 0.0, 0, 1, "other", 3.0)
                seen.append(it.store._database.read(lambda c: _verdict(it.store, c, asking)))

        it.ledger.changed.append(back)
        it.store.away = True
        await asyncio.sleep(10.0)  # the lease is long over
        it.store.away = False
        await asyncio.sleep(5.0)
        assert seen == [Verdict.HELD]
        assert it.lost == []


def _verdict(store: Store, connection: sqlite3.Connection, asking: Claim) -> Verdict:
    from adapters.sqlite.deliveries import stored_of
    from adapters.sqlite.moment import Moment
    from core.claims import judge

    now = Moment.of(LoopClock())
    return judge(stored_of(connection, asking, now), asking, now.seconds).verdict


async def test_it_gives_up_after_its_limit() -> None:
    async with opened() as it:
        claim = await it.claim()
        it.store.away = True
        with pytest.raises(StoreUnavailable, match="60 s"):
            await it.ledger.settle(_outcome(claim))


async def test_without_a_limit_it_waits_for_as_long_as_it_takes_or_until_the_program_ends() -> None:
    async with opened(give_up=None) as it:
        first, second = await it.claim(), await it.claim()
        it.store.away = True
        one = asyncio.ensure_future(it.ledger.settle(_outcome(first)))
        two = asyncio.ensure_future(it.ledger.settle(_outcome(second)))
        await asyncio.sleep(3_000.0)
        assert not one.done()
        it.ledger.wait_no_longer()
        for settling in (one, two):
            with pytest.raises(StoreUnavailable):
                await settling


async def test_a_store_that_comes_and_goes_is_asked_no_more_than_one_that_is_gone() -> None:
    """It answers the ping and refuses claims and outcomes, as a full Redis did."""
    async with opened(give_up=None) as it:
        claims = [await it.claim() for _ in range(10)]
        it.store.refuses = {"claim", "settle"}
        told: list[bool] = []
        it.ledger.changed.append(told.append)
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(it.ledger.settle(_outcome(claim))) for claim in claims]
        waiting += [asyncio.ensure_future(it.claim()) for _ in range(10)]
        it.store.calls.clear()
        await asyncio.sleep(600.0)
        assert it.store.calls["ping"] <= 600.0 / (LAST_PAUSE / 2) + 10
        assert it.store.calls["settle"] <= it.store.calls["ping"] + 1
        assert it.store.calls["claim"] <= it.store.calls["ping"] + 1
        it.store.refuses = set()
        await asyncio.wait_for(asyncio.gather(*waiting), 60.0)
        assert it.ledger.up


async def test_a_store_that_nothing_is_asked_of_is_found_away() -> None:
    """Jobs that come then are not taken, and the controller, which reads that we take none, adds no others."""
    async with opened() as it:
        told: list[bool] = []
        it.ledger.changed.append(told.append)
        await asyncio.sleep(60.0)
        assert told == []
        it.store.away = True
        await asyncio.sleep(2 * IDLE + 0.1)
        assert told == [False]
        it.store.away = False
        await asyncio.sleep(LAST_PAUSE + 0.1)
        assert told == [False, True]


async def test_a_store_that_answers_is_not_asked_whether_it_is_there() -> None:
    async with opened() as it:
        it.store.calls.clear()
        for _ in range(60):
            claim = await it.claim()
            await asyncio.sleep(0.5)
            await it.ledger.settle(_outcome(claim))
        assert "ping" not in it.store.calls


async def test_an_outcome_and_the_hand_back_after_it_never_change_places() -> None:
    async with opened() as it:
        claim = await it.claim()
        it.store.slow.add("settle")
        settling = asyncio.ensure_future(it.ledger.settle(_outcome(claim)))
        await asyncio.sleep(0.1)
        giving_up = asyncio.ensure_future(it.ledger.give_up(claim, 2.0))
        await asyncio.sleep(0.1)
        assert it.store.calls["settle"] == 1, "the second waits for the first"
        it.store.gate.set()
        assert await settling
        await giving_up
        job = await it.store.job(claim.job_id)
        assert job is not None
        assert job.deliveries[0].state is State.SUCCEEDED


async def test_a_command_that_never_ends_is_a_store_that_is_away() -> None:
    async with opened() as it:
        it.store.slow.add("claim")
        asking = asyncio.ensure_future(it.claim())
        await asyncio.sleep(40.0)
        assert it.store.calls["claim"] >= 2, "it was asked again"
        it.store.slow.clear()
        assert (await asyncio.wait_for(asking, 60.0)).token


async def test_one_note_that_cannot_be_kept_stops_no_others() -> None:
    async with opened() as it:
        bad, good = await it.claim(), await it.claim()
        it.store.bad = lambda name, item: BadRecord("broken") if name == "progress" and item.job_id == bad.job_id else None
        it.ledger.note(bad, "1")
        it.ledger.note(good, "2")
        await asyncio.sleep(2.0)
        assert it.store.progressed == ["2"]
        assert it.ledger.up


class Stuck(Store):
    """Its close swallows every cancellation, as a library's may."""

    async def close(self) -> None:
        while True:
            try:
                await asyncio.sleep(1.0)
            except asyncio.CancelledError:
                if self.away:
                    raise


async def test_closing_is_bounded_whatever_the_store_does() -> None:
    store = Stuck(":memory:", Settings(), LoopClock())
    ledger = Ledger(store, lease=3.0, give_up=None)
    await ledger.open()
    await asyncio.wait_for(ledger.close(), 60.0)
    store.away = True
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await Store.close(store)
