"""The consumer's side of the outcome store: claims with their leases, outcomes, dead letters.

While the store is away everything waits here, and `changed` tells the queues to take nothing more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jobs.coalesce import Coalescer
from jobs.errors import StoreUnavailable
from jobs.ports import Answer, Claim, DeadLetter, Outcome, OutcomeStore
from telemetry import logs, metrics

_log = logs.get("consumer.ledger")
Result = TypeVar("Result")

# The store is asked whether it is back after 0.1 s, then at growing, jittered intervals of up to 2 s.
_FIRST_PING, _LAST_PING = 0.1, 2.0


class Ledger:
    """Claims, settles and buries, many in one command. `lease` is in seconds; `give_up` is how long to wait for the store."""

    def __init__(self, store: OutcomeStore, *, lease: float, give_up: float) -> None:
        self.store = store
        self.lease = lease
        self._give_up = give_up
        self._claims: Coalescer[Claim, Answer] = Coalescer(store.claim)
        self._outcomes: Coalescer[Outcome, bool] = Coalescer(store.settle)
        self._dead: Coalescer[DeadLetter, None] = Coalescer(self._bury)
        self._held: dict[str, tuple[Claim, Callable[[], None]]] = {}
        self._notes: dict[str, tuple[Claim, str]] = {}
        self._up = asyncio.Event()
        self._up.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed: list[Callable[[bool], None]] = []

    @property
    def up(self) -> bool:
        """Whether the store answered when it was last asked."""
        return self._up.is_set()

    async def open(self) -> None:
        """Start renewing leases. A store that is away is waited for in the background."""
        try:
            await self.store.open()
            await self.store.ping()
            metrics.STORE_UP.set(1)
        except StoreUnavailable as error:
            self._went_away(error)
        self._start(self._renew_forever())
        self._start(self._note_forever())

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()

    async def claim(self, claim: Claim, lost: Callable[[], None]) -> Answer:
        """Ask for a claim. If granted it is renewed until `settle` or `forget`; `lost` is called when it was taken over."""
        answer = await self._patiently(lambda: self._claims.ask(claim))
        if answer.verdict == "granted":
            self._held[claim.token] = (claim, lost)
        return answer

    async def settle(self, outcome: Outcome) -> bool:
        """Write an outcome and end its claim. False: somebody else had taken the claim over."""
        # Before it is sent: a renewal that comes after the outcome finds no claim, and must not be taken for a loss.
        self.forget(outcome.token)
        return await self._patiently(lambda: self._outcomes.ask(outcome))

    def forget(self, token: str) -> None:
        """Renew this claim no longer."""
        self._held.pop(token, None)
        self._notes.pop(token, None)

    async def bury(self, dead: DeadLetter) -> None:
        """Record the dead letter of a message that has no claim."""
        await self._patiently(lambda: self._dead.ask(dead))

    def note(self, claim: Claim, progress: str) -> None:
        """Remember how far a run is; the newest note is written about once a second."""
        if claim.token in self._held:
            self._notes[claim.token] = (claim, progress)

    async def _bury(self, dead: list[DeadLetter]) -> list[None]:
        await self.store.bury(dead)
        return [None] * len(dead)

    async def _patiently(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask again whenever the store is back. Raises StoreUnavailable after `give_up` seconds."""
        if self._up.is_set():
            try:
                return await ask()
            except StoreUnavailable as error:
                self._went_away(error)
        try:
            async with asyncio.timeout(self._give_up):
                while True:
                    await self._up.wait()
                    try:
                        return await ask()
                    except StoreUnavailable as error:
                        self._went_away(error)
        except TimeoutError:
            raise StoreUnavailable(f"the outcome store was away for {self._give_up:g} s") from None

    def _went_away(self, error: StoreUnavailable) -> None:
        if not self._up.is_set():
            return
        _log.warning("the outcome store is away: no deliveries are taken until it is back", why=str(error))
        self._up.clear()
        metrics.STORE_UP.set(0)
        self._tell(False)
        self._start(self._wait_until_back())

    async def _wait_until_back(self) -> None:
        pause = _FIRST_PING
        while True:
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, _LAST_PING)
            try:
                await self.store.ping()
                break
            except StoreUnavailable:
                continue
        _log.info("the outcome store is back")
        metrics.STORE_UP.set(1)
        self._up.set()
        self._tell(True)

    def _tell(self, up: bool) -> None:
        for listener in self.changed:
            listener(up)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self.lease / 3)
            held = list(self._held.values())
            if held and self._up.is_set():
                await self._renew(held)

    async def _renew(self, held: list[tuple[Claim, Callable[[], None]]]) -> None:
        try:
            kept = await self.store.renew([claim for claim, _ in held])
        except StoreUnavailable as error:
            self._went_away(error)
            return
        for (claim, lost), still_ours in zip(held, kept, strict=True):
            if not still_ours and claim.token in self._held:
                self.forget(claim.token)
                metrics.CLAIMS_LOST.labels(claim.queue).inc()
                lost()

    async def _note_forever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            notes, self._notes = self._notes, {}
            for claim, progress in notes.values():
                try:
                    await self.store.progress(claim, progress)
                except StoreUnavailable as error:
                    self._went_away(error)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
