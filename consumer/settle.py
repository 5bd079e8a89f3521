"""Carrying out a plan: the outcome first, then the ack, nack or reject. This order is promise 2: every delivery settles."""

from __future__ import annotations

from consumer.execute import Bury, Plan, RetryAfter, Succeed
from consumer.ledger import Ledger
from consumer.letters import Letters
from consumer.put_off import PutOff
from consumer.taken import Stage, Taken
from consumer.tally import Tally
from core.chance import Chance
from core.clock import Clock
from core.envelope import Envelope
from core.errors import BadRecord, StoreUnavailable
from core.model import Reason, State
from core.ports import Claim, DeadLetter, Failure, Outcome
from telemetry import logs, metrics

_log = logs.get("consumer.settle")

# A delivery without a handler here comes back after 1, 2, 4 ... 60 s, 10 minutes in all: longer than a rollout takes.
MOST_ASTRAY, _LAST_ASTRAY = 15, 60.0
SETTLEMENTS = ("succeeded", "retry", "dead", "returned", "repeated")


class Settler:
    """Settles the deliveries of one queue. Without a ledger (`none:`) only the broker gets the settlement.

    hold: seconds for which a delivery may be held, or None.
    """

    def __init__(self, queue: str, ledger: Ledger | None, clock: Clock, chance: Chance, tally: Tally, hold: float | None) -> None:
        self._queue = queue
        self._chance = chance
        self._tally = tally
        self._ledger = ledger
        self._clock = clock
        self.letters = Letters(queue, ledger, clock, chance, tally)
        self.later = PutOff(queue, chance, hold, self.hand_back)
        self._counters = {word: metrics.DELIVERIES.labels(queue, word) for word in SETTLEMENTS}
        metrics.CLAIMS_LOST.labels(queue)

    async def carry_out(self, plan: Plan, taken: Taken, envelope: Envelope, claim: Claim | None) -> None:
        """Settle one delivery whose claim we hold (None without a ledger). Raises StoreUnavailable or BadRecord."""
        taken.stage = Stage.SETTLING
        match plan:
            case Succeed(result):
                if claim is None or await self._record(taken, claim, State.SUCCEEDED, result=result):
                    taken.subscription.ack(taken.delivery)
                    self._count("succeeded")
            case RetryAfter(delay, failure, crashed):
                await self._retry(taken, envelope, claim, delay, failure, crashed=crashed)
            case Bury(reason, failure):
                await self._dead(taken, claim, reason, failure)

    async def unusable(self, taken: Taken, error: BadRecord) -> None:
        """The store's record of it cannot be read or written: it goes to the dead letters with its record, and the others go on."""
        taken.stage = Stage.SETTLING
        await self.letters.bury(taken, Reason.RECORD, Failure("record", logs.brief(error)))

    async def given_up(self, taken: Taken, claim: Claim) -> None:
        """The broker gave it up, and its claim is ours: it does not run. Raises StoreUnavailable or BadRecord."""
        taken.stage = Stage.SETTLING
        reason = taken.delivery.death or Reason.REJECTED
        failure = Failure("broker", f"the broker gave it up: {reason.value}")
        letter = self.letters.of(taken, reason, failure)
        if await self._record(taken, claim, State.DEAD, failure=failure, dead=letter):
            taken.subscription.ack(taken.delivery)
            self.letters.count(reason, taken, failure)

    def drop(self, taken: Taken) -> None:
        """Its work is done, or done by another message: forget it."""
        taken.subscription.ack(taken.delivery)
        self._count("repeated")

    async def left(self, taken: Taken, envelope: Envelope) -> bool:
        """Leave it to another process, which has its handler: in a rollout there are old ones and new ones. No attempt is counted.

        False: it went astray too often, and no consumer seems to have one.
        """
        if envelope.astray >= MOST_ASTRAY:
            return False
        delay = min(2.0**envelope.astray, _LAST_ASTRAY) * self._chance.uniform(0.75, 1.25)
        _log.warning(
            "no handler here: leaving it to another process",
            job_id=envelope.job_id,
            queue=self._queue,
            job_type=envelope.job_type,
            times=envelope.astray,
        )
        self._counters["returned"].inc()
        await self.later.put_off(taken, envelope.gone_astray(), delay)
        return True

    def hand_back(self, taken: Taken) -> None:
        taken.subscription.hand_back(taken.delivery)
        self._counters["returned"].inc()

    async def give_up_claim(self, claim: Claim) -> None:
        """The run was broken off: let the next one begin without waiting for the lease. Best effort."""
        if self._ledger is None:
            return
        try:
            await self._ledger.give_up(claim, self._clock.wall())
        except (StoreUnavailable, BadRecord) as error:
            _log.warning("a claim ends with its lease", job_id=claim.job_id, queue=self._queue, why=logs.brief(error))

    def _count(self, settlement: str) -> None:
        self._counters[settlement].inc()
        self._tally.settled += 1
        self._tally.done += settlement != "retry"

    async def _retry(
        self, taken: Taken, envelope: Envelope, claim: Claim | None, delay: float, failure: Failure, *, crashed: bool
    ) -> None:
        due = self._clock.wall() + delay
        if envelope.deadline is not None and due > envelope.deadline:
            await self._dead(taken, claim, Reason.EXPIRED, failure)
            return
        if claim is not None and not await self._record(taken, claim, State.RETRYING, failure=failure, next_at=due):
            return
        _log.info(
            "a run failed and is tried again",
            job_id=envelope.job_id,
            queue=self._queue,
            attempt=envelope.attempt,
            trace_id=envelope.trace_id,
            delay_s=round(delay, 3),
            error=f"{failure.kind}: {failure.message[:300]}",
        )
        self._count("retry")
        if delay > 0:  # without, it is published to its queue again, and counted there
            self._tally.returning.put_off(self._clock.steady() + delay)
        await self.later.put_off(taken, envelope.after_crash() if crashed else envelope.next_attempt(), delay)

    async def _dead(self, taken: Taken, claim: Claim | None, reason: Reason, failure: Failure) -> None:
        if claim is None:
            taken.subscription.reject(taken.delivery)
        else:
            letter = self.letters.of(taken, reason, failure)
            if not await self._record(taken, claim, State.DEAD, failure=failure, dead=letter):
                return
            taken.subscription.ack(taken.delivery)
        self.letters.count(reason, taken, failure)

    async def _record(
        self,
        taken: Taken,
        claim: Claim,
        state: State,
        *,
        result: str | None = None,
        failure: Failure | None = None,
        next_at: float | None = None,
        dead: DeadLetter | None = None,
    ) -> bool:
        """Write the outcome. False: refused, and the delivery is handed back.

        The claim was taken over, so that another message does the work: then this one is dropped when it is claimed again. Or the
        store was set back to a time before the claim, and there is no other message.
        """
        assert self._ledger is not None  # noqa: S101 - a claim exists only with a ledger
        at = self._clock.wall()
        if await self._ledger.settle(Outcome(claim, state, at, result=result, failure=failure, next_at=next_at, dead=dead)):
            return True
        self.hand_back(taken)
        return False
