"""The simulated outcome store's server: records in memory by the rules of `core/claims.py`, and what can go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from adapters.simulated.letters import Letters
from core.chance import Chance
from core.claims import Stored, accepts, judge
from core.clock import Clock
from core.errors import StoreUnavailable
from core.model import State
from core.ports import Answer, Claim, DeadLetter, DeliveryRecord, JobRecord, Outcome, Queued, Verdict

Result = TypeVar("Result")
# The event, its (queue, job id), the record before, the record now, and the token of the caller.
Watcher = Callable[[str, tuple[str, str], Stored | None, Stored | None, str], None]


@dataclass(frozen=True, slots=True)
class Job:
    job_type: str
    accepted_at: float
    kept_until: float


@dataclass(frozen=True, slots=True)
class Row:
    stored: Stored
    record: DeliveryRecord


@dataclass
class Memory:
    """Everything that is stored. Its values are never changed in place, so that a shallow copy is a snapshot."""

    jobs: dict[str, Job]
    rows: dict[tuple[str, str], Row]
    letters: Letters

    def copy(self) -> Memory:
        return Memory(dict(self.jobs), dict(self.rows), self.letters.copy())


class StoreServer:
    """latency: seconds that a request or an answer takes, least and most.

    away: None, or "refuses" (an error at once) or "silent" (no answer). mute: it does what is asked and its answers are lost.
    """

    def __init__(self, chance: Chance, clock: Clock, retention: float, *, latency: tuple[float, float] = (0.0002, 0.002)) -> None:
        self.latency = latency
        self.slowness = 1.0
        self.stragglers = 0.0  # of all requests, those that others overtake: they arrive up to 1.7 s later
        self.away: str | None = None
        self.mute = False
        self.unreachable: dict[str, None] = {}
        self.memory = Memory({}, {}, Letters())
        self.watch: list[Watcher] = []
        self.watch_letters: list[Callable[[DeadLetter], None]] = []
        self.ahead = 0.0  # seconds by which its clock is before the true one
        self._chance = chance
        self._clock = clock
        self._retention = retention
        self._context = copy_context()

    def now(self) -> float:
        return self._clock.wall() + self.ahead

    async def ask(self, name: str, timeout: float, function: Callable[..., Result], *args: Any) -> Result:
        """Have the server do it. Raises StoreUnavailable: it may have been done or not."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        timer = loop.call_later(timeout, _late, future, timeout)
        client = copy_context()

        def arrive() -> None:
            if self.away == "silent" or name in self.unreachable:
                return
            answer: Any = None
            error: Exception | None = StoreUnavailable("connection refused")
            if self.away is None:
                try:
                    answer, error = function(*args), None
                except Exception as raised:
                    error = raised
            if not self.mute:
                loop.call_later(self._delay(), _answer, future, answer, error, context=client)

        straggles = self._chance.uniform(0.5, 1.7) if self._chance.uniform(0.0, 1.0) < self.stragglers else 0.0
        loop.call_later(self._delay() + straggles, arrive, context=self._context)
        try:
            return await future
        finally:
            timer.cancel()

    def _delay(self) -> float:
        return self._chance.uniform(*self.latency) * self.slowness

    # -------------------------------------------------------------------------------------------- what clients ask for

    def queued(self, records: Sequence[Queued], into: State, over: State) -> None:
        for record in records:
            self._keep(record.job_id, record.job_type, record.accepted_at)
            for queue in record.queues:
                key = queue, record.job_id
                row = self._row(key)
                if row is None:
                    self._put(into.value, key, Stored(into), "")
                elif row.stored.state is over:
                    self._put(into.value, key, row.stored._replace(state=into), "")

    def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        return [self._claim_one(claim) for claim in claims]

    def _claim_one(self, claim: Claim) -> Answer:
        key = claim.queue, claim.job_id
        row = self._row(key)
        answer = judge(None if row is None else row.stored, claim, self.now())
        if answer.verdict.ours:
            self._keep(claim.job_id, claim.job_type, claim.accepted_at)
            running = self._running(claim, crashed=answer.verdict is Verdict.CRASHED)
            self._put(answer.verdict.value, key, running, claim.token, started_at=self.now(), ended_at=None, next_at=None)
        return answer

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        kept = []
        for claim in claims:
            key = claim.queue, claim.job_id
            row = self._row(key)
            kept.append(accepts(None if row is None else row.stored, claim, State.RUNNING))
            if kept[-1]:
                self._keep(claim.job_id, claim.job_type, claim.accepted_at)
                crashed = row is not None and row.stored.token == claim.token and row.stored.crashed
                self._put("renewed", key, self._running(claim, crashed=crashed), claim.token)
        return kept

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        return [self._settle_one(outcome) for outcome in outcomes]

    def _settle_one(self, outcome: Outcome) -> bool:
        claim, key = outcome.claim, (outcome.claim.queue, outcome.claim.job_id)
        row = self._row(key)
        if not accepts(None if row is None else row.stored, claim, outcome.state):
            return False
        self._keep(claim.job_id, claim.job_type, claim.accepted_at, outcome.delay)
        stored = Stored(outcome.state, claim.replay, claim.attempt, claim.token, 0.0, self.now() + outcome.delay)
        fields = {"result": outcome.result, "failure": outcome.failure, "next_at": outcome.next_at}
        ended = None if outcome.state is State.QUEUED else outcome.at
        self._put("settled", key, stored, claim.token, ended_at=ended, **fields)
        if outcome.dead is not None:
            self.bury([outcome.dead])
        return True

    def bury(self, dead: Sequence[DeadLetter]) -> None:
        for letter in dead:
            self.memory.letters.bury(letter)
            for watcher in self.watch_letters:
                watcher(letter)

    def progress(self, claim: Claim, progress: str) -> bool:
        row = self._row((claim.queue, claim.job_id))
        if row is None or row.stored.token != claim.token or row.stored.state is not State.RUNNING:
            return False
        self.memory.rows[claim.queue, claim.job_id] = replace(row, record=replace(row.record, progress=progress))
        return True

    def job(self, job_id: str) -> JobRecord | None:
        job = self.memory.jobs.get(job_id)
        if job is None or job.kept_until <= self.now():
            return None
        records = sorted((row.record for (_, of), row in self.memory.rows.items() if of == job_id), key=lambda r: r.queue)
        return JobRecord(job_id, job.job_type, job.accepted_at, tuple(records))

    def replayed(self, dead_id: str, at: float, replay: int) -> bool:
        letter = self.memory.letters.mark(dead_id, at)
        if letter is None:
            return False
        key = letter.queue, letter.job_id or ""
        row = self._row(key)
        if row is not None and row.stored.state is State.DEAD and row.stored.replay < replay:
            self._put("replayed", key, Stored(State.QUEUED, replay), "")
        return True

    # ------------------------------------------------------------------------------------------------------- records

    def _running(self, claim: Claim, *, crashed: bool) -> Stored:
        return Stored(State.RUNNING, claim.replay, claim.attempt, claim.token, self.now() + claim.lease, crashed=crashed)

    def _row(self, key: tuple[str, str]) -> Row | None:
        job = self.memory.jobs.get(key[1])
        if job is not None and job.kept_until <= self.now():
            self.forget(key[1])
        return self.memory.rows.get(key)

    def _keep(self, job_id: str, job_type: str, accepted_at: float, delay: float = 0.0) -> None:
        """delay: seconds until it is due."""
        known = self.memory.jobs.get(job_id) or Job(job_type, accepted_at, 0.0)
        until = self.now() + delay + self._retention
        self.memory.jobs[job_id] = replace(known, kept_until=max(until, known.kept_until))

    def _put(self, what: str, key: tuple[str, str], stored: Stored, token: str, **fields: Any) -> None:
        row = self.memory.rows.get(key)
        record = DeliveryRecord(key[0], stored.state) if row is None else row.record
        record = replace(record, state=stored.state, attempts=stored.attempt, replay=stored.replay, **fields)
        self.memory.rows[key] = Row(stored, record)
        self._tell(what, key, None if row is None else row.stored, stored, token)

    def _tell(self, what: str, key: tuple[str, str], before: Stored | None, after: Stored | None, token: str) -> None:
        for watcher in self.watch:
            watcher(what, key, before, after, token)

    # ---------------------------------------------------------------------------------------------- what goes wrong

    def forget(self, job_id: str) -> None:
        """One job's record is gone: evicted, expired, or of a shard that was lost."""
        self.memory.jobs.pop(job_id, None)
        for key in [key for key in self.memory.rows if key[1] == job_id]:
            row = self.memory.rows.pop(key)
            self._tell("forgotten", key, row.stored, None, "")

    def become(self, memory: Memory) -> None:
        """Hold what an older snapshot has, or nothing: a replica was promoted, or it began again without its file."""
        self.memory = memory.copy()
        self._tell("rolled back", ("", ""), None, None, "")


def _late(future: asyncio.Future[Any], timeout: float) -> None:
    if not future.done():
        future.set_exception(StoreUnavailable(f"no answer within {timeout:g} s"))


def _answer(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
