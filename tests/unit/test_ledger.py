"""The ledger: leases beside outcomes, and a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from consumer.ledger import Ledger
from jobs.adapters.sqlite import SqliteOutcomes
from jobs.clock import SystemClock
from jobs.errors import StoreUnavailable
from jobs.identity import new_job_id
from jobs.model import State
from jobs.ports import Claim, Outcome
from jobs.settings import Settings


class Switchable(SqliteOutcomes):
    """A store in memory that can be taken away."""

    away = False

    async def ping(self) -> None:
        if self.away:
            raise StoreUnavailable("taken away")
        await super().ping()

    async def settle(self, outcomes):  # type: ignore[no-untyped-def]  # as its parent
        if self.away:
            raise StoreUnavailable("taken away")
        return await super().settle(outcomes)


@asynccontextmanager
async def opened() -> AsyncIterator[Ledger]:
    """Not a fixture: its timers must start inside the virtual time of the test."""
    ledger = Ledger(Switchable(":memory:", Settings(), SystemClock()), lease=3.0, give_up=60.0)
    await ledger.open()
    yield ledger
    await ledger.close()


def _claim() -> Claim:
    return Claim("work", new_job_id(), "thing.done", 0.0, 0, 1, "token", 3.0)


def _outcome(claim: Claim) -> Outcome:
    return Outcome(claim.queue, claim.job_id, claim.token, State.SUCCEEDED, 1.0)


@pytest.mark.looptime
async def test_a_renewal_beside_the_outcome_is_no_loss() -> None:
    async with opened() as ledger:
        lost = []
        claim = _claim()
        await ledger.claim(claim, lambda: lost.append(claim))
        held = list(ledger._held.values())
        settling = asyncio.ensure_future(ledger.settle(_outcome(claim)))
        await asyncio.sleep(0)
        await ledger._renew(held)  # its snapshot still names the claim; the store no longer does
        assert await settling
        assert lost == []


@pytest.mark.looptime
async def test_a_claim_that_was_taken_over_is_told() -> None:
    async with opened() as ledger:
        lost = []
        claim = _claim()
        await ledger.claim(claim, lambda: lost.append(claim))
        await ledger.store.settle([_outcome(claim)])  # somebody else ended it
        await asyncio.sleep(3.0)
        assert lost == [claim]


@pytest.mark.looptime
async def test_outcomes_wait_until_the_store_is_back() -> None:
    async with opened() as ledger:
        told: list[bool] = []
        ledger.changed.append(told.append)
        claim = _claim()
        await ledger.claim(claim, lambda: None)
        ledger.store.away = True  # type: ignore[attr-defined]  # Switchable
        settling = asyncio.ensure_future(ledger.settle(_outcome(claim)))
        await asyncio.sleep(5.0)
        assert (ledger.up, settling.done(), told) == (False, False, [False])
        ledger.store.away = False  # type: ignore[attr-defined]  # Switchable
        assert await settling
        assert (ledger.up, told) == (True, [False, True])


@pytest.mark.looptime
async def test_it_gives_up_after_its_limit() -> None:
    async with opened() as ledger:
        claim = _claim()
        await ledger.claim(claim, lambda: None)
        ledger.store.away = True  # type: ignore[attr-defined]  # Switchable
        with pytest.raises(StoreUnavailable, match="60 s"):
            await ledger.settle(_outcome(claim))
