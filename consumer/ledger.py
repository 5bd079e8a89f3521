"""The consumer's side of the outcome store: claims with their leases, outcomes, dead letters.

While the store is unavailable everything waits here, and `changed` tells the queues to begin nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

from consumer.presence import ANSWER_WITHIN, Presence
from core.coalesce import Coalescer
from core.errors import StoreUnavailable
from core.model import State
from core.ports import Answer, Claim, DeadLetter, Outcome, OutcomeStore
from telemetry import logs, metrics
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("consumer.ledger")
Item = TypeVar("Item")
Result = TypeVar("Result")
_Call = Callable[[list[Item]], Awaitable[Sequence[Result]]]

# How often progress is written, and how long closing the store may take. Seconds.
_NOTE_EVERY, _CLOSE_WITHIN = 1.0, 5.0


class Ledger:
    """Claims, settles and buries, many in one command.

    lease: seconds. give_up: seconds to wait for a store that is unavailable; None is for as long as it takes.
    supervisor: the program's, which owns what runs here beside it; without one it has its own.
    """

    def __init__(self, store: OutcomeStore, *, lease: float, give_up: float | None, supervisor: Supervisor | None = None) -> None:
        self.store = store
        self.lease = lease
        self._give_up = give_up
        self._owner = supervisor or Supervisor()
        self._presence = Presence(self._ask, store.ping, self._owner.chance)
        self._claims: Coalescer[Claim, Answer] = Coalescer(self._bounded(store.claim))
        # A hand-back may follow an outcome whose answer was lost: the two must not change places.
        self._outcomes: Coalescer[Outcome, bool] = Coalescer(self._bounded(store.settle), order=_delivery_of)
        self._renewals: Coalescer[Claim, bool] = Coalescer(self._bounded(store.renew))
        self._dead: Coalescer[DeadLetter, None] = Coalescer(self._bounded(self._bury))
        self._held: dict[str, tuple[Claim, Callable[[], None]]] = {}
        self._notes: dict[str, tuple[Claim, str]] = {}
        self._loops: list[Supervised] = []
        self.changed = self._presence.changed

    @property
    def up(self) -> bool:
        """Whether the store took writes when it was last asked."""
        return self._presence.up

    async def open(self) -> None:
        """Start renewing leases. A store that is unavailable is waited for in the background."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self.store.open()
                await self.store.ping()
            metrics.STORE_UP.set(1)
        except (StoreUnavailable, TimeoutError) as error:
            self._presence.went_away(error)
        # A round is a third of a lease of sleep, and an answer that is waited for as long again at most.
        renewing = self._owner.start("claims", self._renew_forever, patience=max(self.lease, 10.0))
        store = self._owner.start("outcome store", self._presence.watch, patience=2 * ANSWER_WITHIN)
        notes = self._owner.start("progress", self._note_forever, patience=2 * ANSWER_WITHIN)
        self._loops = [renewing, store, notes]

    async def close(self) -> None:
        """At most some 10 s, whatever the store does."""
        self._presence.wait_no_longer()
        await asyncio.gather(*(one.stop() for one in self._loops))
        closing = asyncio.ensure_future(self.store.close())
        await asyncio.wait({closing}, timeout=_CLOSE_WITHIN)
        if not closing.done():
            closing.cancel()
        elif not closing.cancelled() and (error := closing.exception()) is not None:
            _log.warning("the outcome store could not be closed", why=logs.brief(error))

    def wait_no_longer(self) -> None:
        """The program is ending: nothing waits for a store that is unavailable."""
        self._presence.wait_no_longer()

    async def claim(self, claim: Claim, lost: Callable[[], None]) -> Answer:
        """Ask for a claim. If it is ours it is renewed until `settle` or `forget`; `lost` is called when it was taken over.

        Raises BadRecord: the store works, and not for this delivery.
        """
        answer = await self._patiently(lambda: self._claims.ask(claim))
        if answer.verdict.ours:
            self._held[claim.token] = (claim, lost)
        return answer

    async def settle(self, outcome: Outcome) -> bool:
        """Write an outcome and end its claim. False: somebody else had taken the claim over. Raises BadRecord."""
        # Before it is sent: a renewal that comes after the outcome finds no claim, and must not be taken for a loss.
        self.forget(outcome.claim.token)
        return await self._patiently(lambda: self._outcomes.ask(outcome))

    async def give_up(self, claim: Claim, at: float) -> None:
        """Let the next run begin without waiting for the lease: one try. at: Unix seconds. Raises StoreUnavailable or BadRecord."""
        self.forget(claim.token)
        if not self.up:
            raise StoreUnavailable("the outcome store is away")
        await self._outcomes.ask(Outcome(claim, State.QUEUED, at))

    def forget(self, token: str) -> None:
        """Renew this claim no longer."""
        self._held.pop(token, None)
        self._notes.pop(token, None)

    async def bury(self, dead: DeadLetter) -> None:
        """Record the dead letter of a message that has no claim. Raises BadRecord."""
        await self._patiently(lambda: self._dead.ask(dead))

    def note(self, claim: Claim, progress: str) -> None:
        """Remember how far a run is; the newest note is written about once a second. From any thread."""
        if claim.token in self._held:
            self._notes[claim.token] = (claim, progress)

    async def _bury(self, dead: list[DeadLetter]) -> list[None]:
        await self.store.bury(dead)
        return [None] * len(dead)

    async def _patiently(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask again whenever the store is back. Raises StoreUnavailable after `give_up` seconds."""
        if self._presence.up:
            try:
                return await ask()
            except StoreUnavailable as error:
                self._presence.went_away(error)
        try:
            async with asyncio.timeout(self._give_up):
                while True:
                    await self._presence.back()
                    try:
                        return await ask()
                    except StoreUnavailable as error:
                        self._presence.went_away(error)
        except TimeoutError:
            raise StoreUnavailable(f"the outcome store was away for {self._give_up or 0:g} s") from None

    async def _ask(self) -> None:
        """Is the store back? Before anybody else finds out, our claims are renewed: their leases may be over."""
        await self.store.ping()
        await self._renew()

    async def _renew_forever(self, beat: Beat) -> None:
        while True:
            beat()
            await asyncio.sleep(self.lease / 3)
            if self._held and self.up:
                try:
                    async with asyncio.timeout(self.lease / 3):
                        await self._renew()
                except (StoreUnavailable, TimeoutError) as error:
                    self._presence.went_away(error)

    async def _renew(self) -> None:
        """Renew all, in commands of bounded size. Raises StoreUnavailable. An unusable record is reported by its outcome."""
        held = list(self._held.values())
        answers = await asyncio.gather(*(self._renewals.ask(claim) for claim, _ in held), return_exceptions=True)
        for (claim, lost), answer in zip(held, answers, strict=True):
            if isinstance(answer, Exception) and not isinstance(answer, StoreUnavailable):
                _log.warning("a claim could not be renewed", job_id=claim.job_id, queue=claim.queue, why=logs.brief(answer))
            if answer is False and claim.token in self._held:
                self.forget(claim.token)
                metrics.CLAIMS_LOST.labels(claim.queue).inc()
                lost()
        for answer in answers:
            if isinstance(answer, StoreUnavailable):
                raise answer

    async def _note_forever(self, beat: Beat) -> None:
        while True:
            beat()
            await asyncio.sleep(_NOTE_EVERY)
            for token in list(self._notes):
                note = self._notes.pop(token, None)
                if note is not None and self.up:
                    await self._note(*note)
                    beat()

    async def _note(self, claim: Claim, progress: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self.store.progress(claim, progress)
        except (StoreUnavailable, TimeoutError) as error:
            self._presence.went_away(error)
        except Exception as error:  # one record's fault
            _log.warning("a run's progress cannot be kept", job_id=claim.job_id, queue=claim.queue, why=logs.brief(error))

    def _bounded(self, call: _Call[Item, Result]) -> _Call[Item, Result]:
        """The same call, ended after ANSWER_WITHIN: a command that never returned would block all that comes after it."""

        async def bounded(items: list[Item]) -> Sequence[Result]:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    answers = await call(items)
            except TimeoutError:
                raise StoreUnavailable(f"no answer within {ANSWER_WITHIN:g} s") from None
            self._presence.answered()
            return answers

        return bounded


def _delivery_of(outcome: Outcome) -> Hashable:
    return outcome.claim.queue, outcome.claim.job_id
