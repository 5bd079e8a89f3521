"""The way of one delivery: claimed, run, settled. In every case it ends settled or requeued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from consumer.context import Context
from consumer.execute import Bury, Plan, after_crash, after_failure, after_return, describe
from consumer.ledger import Ledger
from consumer.once import Once
from consumer.registry import Handler, Registry
from consumer.resources import Resources
from consumer.runs import CoroutineRun, Ended, Run, ThreadRun
from consumer.settings import ConsumerSettings
from consumer.settle import Settler
from consumer.suspects import Suspects
from consumer.taken import Stage, Stop, Taken
from consumer.tally import Tally
from core import payload
from core.chance import Chance, SystemChance
from core.clock import Clock
from core.envelope import Envelope
from core.errors import BadRecord, EnvelopeError, PayloadError, StoreUnavailable, UnknownVersion, Unpublishable
from core.model import Reason
from core.ports import Claim, Failure, Verdict
from core.retry import RetryPolicy
from telemetry import logs, metrics

_log = logs.get("consumer.runtime")

# A delivery that could not be settled for an unforeseen reason is requeued after about a second, so that it does not go round and
# round.
_HAND_BACK_PAUSE = 1.0
# For a job type without a handler here, or without a contract: the contract's own is not known.
_ANY_POLICY = RetryPolicy()


@dataclass(frozen=True)
class Tools:
    """The parts that the queues of one process share.

    threads: makes the pool in which the plain functions of a queue run, for that many at once; called when the first one does.
    once: of a process that takes one delivery.
    """

    settings: ConsumerSettings
    registry: Registry
    resources: Resources
    threads: Callable[[str, int], Executor]
    clock: Clock
    chance: Chance = field(default_factory=SystemChance)
    suspects: Suspects = field(default_factory=Suspects)
    once: Once | None = None

    def claim(self, queue: str, envelope: Envelope) -> Claim:
        """A new claim for the run that the envelope asks for."""
        return Claim(
            queue=queue,
            job_id=envelope.job_id,
            job_type=envelope.job_type,
            accepted_at=envelope.accepted_at,
            replay=envelope.replay,
            attempt=envelope.attempt,
            token=self.chance.token(),
            lease=self.settings.claim_lease,
        )


class Way:
    """Takes the deliveries of one queue along. `work` is called in a task of its own for each."""

    def __init__(self, queue: str, ledger: Ledger | None, tools: Tools, settler: Settler, tally: Tally) -> None:
        self._queue = queue
        self._ledger = ledger
        self._tools = tools
        self._settler = settler
        self._tally = tally
        self._pool: Executor | None = None
        self._loop = asyncio.get_running_loop()
        self._in_flight = metrics.IN_FLIGHT.labels(queue)
        self._wait_seconds = metrics.WAIT_SECONDS.labels(queue)
        self._verdicts = {verdict: metrics.CLAIMS.labels(queue, verdict.value) for verdict in Verdict}
        handlers = tools.registry.handlers([queue])
        self._handler_seconds = {h.contract.name: metrics.HANDLER_SECONDS.labels(queue, h.contract.name) for h in handlers}

    def close(self) -> None:
        """Runs that go on in a thread are left behind."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def work(self, taken: Taken) -> None:
        """Never raises, however a handler, a payload's validators, the store or the broker end."""
        envelope = taken.readable
        claim = None if self._ledger is None or envelope is None else self._tools.claim(self._queue, envelope)
        try:
            try:
                await self._through(taken, claim)
            except BadRecord as error:
                await self._settler.unusable(taken, error)
            except Unpublishable as error:
                await self._settler.letters.bury(taken, Reason.REJECTED, describe(error))
        except StoreUnavailable as error:
            _log.warning("handing back: the outcome store was away too long", queue=self._queue, why=logs.brief(error))
            self._settler.hand_back(taken)
        except BaseException as error:  # a fault of ours, or a cancellation of unknown origin: its lease ends its claim
            failure = describe(error)
            _log.error("a delivery could not be settled: handing it back", queue=self._queue, why=f"{failure}")
            await taken.wait(self._tools.chance.uniform(0.5, 1.5) * _HAND_BACK_PAUSE)
            self._settler.hand_back(taken)
        finally:
            if claim is not None and self._ledger is not None:
                self._ledger.forget(claim.token)

    async def _through(self, taken: Taken, claim: Claim | None) -> None:
        envelope = taken.envelope
        if isinstance(envelope, EnvelopeError):
            reason = Reason.VERSION if isinstance(envelope, UnknownVersion) else Reason.MALFORMED
            await self._settler.letters.bury(taken, reason, describe(envelope))
            return
        handler = self._tools.registry.find(self._queue, envelope.job_type)
        if handler is None and await self._settler.left(taken, envelope):
            return
        verdict = Verdict.GRANTED if claim is None else await self._claimed(taken, envelope, claim)
        if verdict is Verdict.GRANTED:
            plan = await self._run(taken, envelope, claim, handler)
        elif verdict is Verdict.CRASHED:
            plan = after_crash(self._policy(envelope), envelope.attempt, self._tools.chance)
        else:
            return
        if plan is not None:
            await self._settler.carry_out(plan, taken, envelope, claim)

    async def _claimed(self, taken: Taken, envelope: Envelope, claim: Claim) -> Verdict:
        """Ask for the claim. If it is not ours, the delivery is settled when this returns."""
        assert self._ledger is not None  # noqa: S101 - there is a claim
        taken.stage = Stage.CLAIMING
        answer = await self._ledger.claim(claim, taken.lose)
        self._verdicts[answer.verdict].inc()
        if answer.verdict.ours:
            return answer.verdict
        match answer.verdict:
            case Verdict.SETTLED | Verdict.STALE:
                self._settler.drop(taken)
            case Verdict.HELD:
                await self._settler.later.put_off(taken, envelope, answer.seconds)
            case Verdict.WAITING:
                await self._settler.later.put_off(taken, after_unpublished(taken, envelope), answer.seconds)
        return answer.verdict

    def _policy(self, envelope: Envelope) -> RetryPolicy:
        contract = self._tools.registry.catalogue.get(envelope.job_type)
        return _ANY_POLICY if contract is None else contract.retry

    async def _run(self, taken: Taken, envelope: Envelope, claim: Claim | None, handler: Handler | None) -> Plan | None:
        """The plan after the run; None: it was broken off, and the delivery is settled for now."""
        now = self._tools.clock.wall()
        if envelope.deadline is not None and now > envelope.deadline:
            return Bury(Reason.EXPIRED, Failure("deadline", f"{now - envelope.deadline:.1f} s past its deadline"))
        if handler is None:
            return Bury(Reason.NO_HANDLER, Failure("registry", f"no handler for {envelope.job_type!r} in queue {self._queue!r}"))
        first = envelope.attempt == 1 and envelope.replay == 0
        waited = max(0.0, now - envelope.accepted_at) if first else 0.0
        if first:
            self._wait_seconds.observe(waited)
        ctx = Context(self._queue, envelope, handler.contract.time_limit, self._noter(claim))
        try:
            run = self._begun(handler, taken, ctx)
        except PayloadError as error:
            return Bury(Reason.INVALID, describe(error))
        except BaseException as error:  # of a payload's validators, of a resource, or because there are no threads left
            return after_failure(error, handler.contract.retry, envelope.attempt, self._tools.chance)
        ended = await self._watched(run, taken, ctx, waited)
        if ended is not None and ended.error is None:
            return after_return(ended.value, ctx)
        if ended is None or ended.error is None or taken.stop is not None:  # whatever it raised: we had asked it to end
            await self._broken_off(taken, claim, runs_on=ended is None)
            return None
        return after_failure(ended.error, handler.contract.retry, envelope.attempt, self._tools.chance)

    def _begun(self, handler: Handler, taken: Taken, ctx: Context) -> Run:
        """The run, begun. A retry's wait says nothing of how late we are: it waits for its time, not for a consumer."""
        model = payload.read(handler.contract.payload, taken.delivery.body)
        injected = self._tools.resources.arguments(handler.injected) if handler.injected else {}
        call = partial(handler.function, model, ctx, **injected)
        if handler.is_coroutine:
            return CoroutineRun(call, ctx, self._loop)
        if self._pool is None:
            self._pool = self._tools.threads(self._queue, self._tools.settings.concurrency)
        return ThreadRun(call, ctx, self._pool, self._tools.clock)

    async def _watched(self, run: Run, taken: Taken, ctx: Context, waited: float) -> Ended | None:
        """Wait for a run, and count it."""
        began = self._tools.clock.steady()
        self._in_flight.inc()
        self._tally.begin(run, began, ctx.envelope.job_type, ctx.time_limit)
        taken.stage, taken.run = Stage.RUNNING, run
        if taken.stop is not None:  # it came while the claim was asked for
            run.break_off()
        how: Ended | None = None
        try:
            how = await run.ended()
            return how
        finally:
            taken.run = None
            ended = self._tools.clock.steady()
            self._in_flight.dec()
            well = how is not None and how.error is None
            self._tally.end(run, began, ended, waited, ctx.envelope.trace_id or "", well=well)
            self._handler_seconds[ctx.envelope.job_type].observe(ended - began)

    async def _broken_off(self, taken: Taken, claim: Claim | None, *, runs_on: bool) -> None:
        if taken.stop is Stop.LOST:
            # Another consumer's now, by a message of its own; unless the store was set back to a time before our claim, and our
            # message is the only one. The answer to the next claim shows which.
            self._settler.hand_back(taken)
            return
        # Beside a function that runs on in its thread no second one may run: its claim ends with its lease.
        if claim is not None and not runs_on:
            await self._settler.give_up_claim(claim)
        self._settler.hand_back(taken)

    def _noter(self, claim: Claim | None) -> Callable[[str], None]:
        return _nothing if self._ledger is None or claim is None else partial(self._ledger.note, claim)


def after_unpublished(taken: Taken, envelope: Envelope) -> Envelope:
    """The next run's envelope, of a delivery whose retry was recorded and never published: its process ended in between.
    That it may have killed it is not forgotten.
    """
    killer = envelope.crashes > 0 or taken.delivery.count > 0
    return envelope.after_crash() if killer else envelope.next_attempt()


def _nothing(_: Any) -> None:
    """Without a ledger a run's progress is not kept."""
