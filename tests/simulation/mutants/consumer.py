"""Faults that the consumer's runtime has had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from consumer import way
from consumer.execute import after_failure
from consumer.ledger import Ledger
from consumer.mover import Mover
from consumer.put_off import PutOff
from consumer.taken import Stage, Stop, Taken
from consumer.way import Way
from core.envelope import Envelope
from core.errors import BrokerError
from core.model import Reason
from core.ports import Failure, Message, Outcome
from tests.simulation.mutants import exchanged, mutant


@mutant
def claim_leaked_by_an_unforeseen_ending() -> Iterator[None]:
    """A payload's validator raises an unforeseen error: the delivery goes back, and its claim is renewed for ever."""
    settle, planned = Ledger.settle, after_failure

    def unforeseen(error: BaseException, *rest: Any) -> Any:
        if isinstance(error, KeyError):
            raise error
        return planned(error, *rest)

    def keeps(self: Ledger, token: str) -> None:
        """Nothing is forgotten but by an outcome."""

    async def settles(self: Ledger, outcome: Outcome) -> bool:
        self._held.pop(outcome.claim.token, None)
        return await settle(self, outcome)

    with ExitStack() as all_three:
        all_three.enter_context(exchanged(way, "after_failure", unforeseen))
        all_three.enter_context(exchanged(Ledger, "forget", keeps))
        all_three.enter_context(exchanged(Ledger, "settle", settles))
        yield


@mutant
def retries_burnt_while_publishing_is_down() -> Iterator[None]:
    """A job that cannot be put off is requeued after a second, comes again, cannot be put off: the broker's delivery limit ends it.

    And what the broker gave up was buried without a look at its claim, which would have saved it.
    """

    async def put_off(self: PutOff, taken: Taken, envelope: Envelope, delay: float) -> None:
        message = Message(
            envelope.job_id, envelope.job_type, envelope.headers(), taken.delivery.body, self._queue, delay, envelope.priority
        )
        try:
            await taken.subscription.postpone(taken.delivery, message)
        except BrokerError:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5))
            self._hand_back(taken)

    async def buries(self: Mover, taken: Taken, _: object) -> None:
        reason = taken.delivery.death or Reason.REJECTED
        await self._settler.letters.bury(taken, reason, Failure("broker", "the broker gave it up"))

    with exchanged(PutOff, "put_off", put_off), exchanged(Mover, "bury", buries):
        yield


@mutant
def outcome_overtaken_at_drain() -> Iterator[None]:
    """At the end of a drain an outcome that is under way is cancelled and its claim given up beside it: the second may arrive
    first, and somebody else does the work again."""
    init, work, through = Ledger.__init__, Way.work, Way._through

    def unordered(self: Ledger, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **more)
        self._outcomes._order = None

    async def gives_up(self: Way, taken: Taken) -> None:
        working = asyncio.ensure_future(work(self, taken))
        while not working.done():
            await asyncio.wait({working}, timeout=0.05)
            if taken.stop is Stop.DRAIN and taken.stage is Stage.SETTLING and taken.readable is not None and not working.done():
                claim = next((c for c, of in _CLAIMS.items() if of is taken), None)
                if claim is not None:
                    _GIVEN_UP[:] = [asyncio.ensure_future(self._settler.give_up_claim(claim))]
                self._settler.hand_back(taken)
                return

    async def remembers(self: Way, taken: Taken, claim: Any) -> None:
        _CLAIMS[claim] = taken
        try:
            await through(self, taken, claim)
        finally:
            _CLAIMS.pop(claim, None)

    with ExitStack() as all_of_them:
        all_of_them.enter_context(exchanged(Ledger, "__init__", unordered))
        all_of_them.enter_context(exchanged(Way, "work", gives_up))
        all_of_them.enter_context(exchanged(Way, "_through", remembers))
        yield


_CLAIMS: dict[Any, Taken] = {}
_GIVEN_UP: list[asyncio.Future[None]] = []  # kept from the garbage collector
