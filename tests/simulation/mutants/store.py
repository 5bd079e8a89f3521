"""Faults in the rules of a claim, which every store follows (`core/claims.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adapters.simulated import store
from consumer.settle import Settler
from consumer.taken import Taken
from core.claims import Stored, accepts, judge
from core.model import State
from core.ports import Answer, Claim, Outcome, Verdict
from tests.simulation.mutants import exchanged, mutant


@mutant
def forgotten_claim_acked() -> Iterator[None]:
    """An outcome whose claim the store has forgotten is refused like one that was taken over: the delivery is acked, undone."""

    def refuses(stored: Stored | None, claim: Claim, state: State) -> bool:
        return stored is not None and accepts(stored, claim, state)

    async def acks(self: Settler, taken: Taken, claim: Claim, state: State, **more: Any) -> bool:
        ledger = self._ledger
        if ledger is not None and await ledger.settle(Outcome(claim, state, self._clock.wall(), **more)):
            return True
        self.drop(taken)
        return False

    with exchanged(store, "accepts", refuses), exchanged(Settler, "_record", acks):
        yield


@mutant
def crash_not_counted() -> Iterator[None]:
    """A claim whose lease is over is given for the same attempt again, so that what kills its process does it for ever."""

    def grants(stored: Stored | None, claim: Claim, now: float) -> Answer:
        answer = judge(stored, claim, now)
        return Answer(Verdict.GRANTED) if answer.verdict is Verdict.CRASHED else answer

    with exchanged(store, "judge", grants):
        yield


@mutant
def replay_beside_the_old_message() -> Iterator[None]:
    """A replay is given the claim while the message before it still runs; and the old message that of a queued replay."""

    def grants(stored: Stored | None, claim: Claim, now: float) -> Answer:
        if stored is not None and (stored.state is State.QUEUED or stored.replay < claim.replay):
            return Answer(Verdict.GRANTED)
        return judge(stored, claim, now)

    with exchanged(store, "judge", grants):
        yield
