"""Carrying out a plan: the outcome first, then what the broker is told. This order is promise 2: every delivery settles."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from consumer.execute import Bury, Plan, RetryAfter, Succeed
from consumer.ledger import Ledger
from consumer.tally import Tally
from jobs.clock import Clock
from jobs.envelope import Envelope
from jobs.errors import BrokerError, StoreUnavailable
from jobs.identity import dead_id, new_job_id
from jobs.model import Reason, State
from jobs.ports import Claim, DeadLetter, Delivery, Failure, Message, Outcome, Subscription
from telemetry import logs, metrics

_log = logs.get("consumer.settle")

# A delivery that could not be put off goes back to the broker after about a second, so that the two do not play ping-pong.
_HAND_BACK_PAUSE = 1.0


class Settler:
    """Settles the deliveries of one queue. Without a ledger (`none:`) only the broker is told."""

    def __init__(self, queue: str, ledger: Ledger | None, clock: Clock, tally: Tally) -> None:
        self._queue = queue
        self._tally = tally
        self._ledger = ledger
        self._clock = clock
        # From 0 on: Prometheus sees no increase in a counter that begins with 1, and the first dead letter would raise no alert.
        self._counters = {word: metrics.DELIVERIES.labels(queue, word) for word in _SETTLEMENTS}
        self._buried = {reason: metrics.DEAD_LETTERS.labels(queue, reason.value) for reason in Reason}
        metrics.CLAIMS_LOST.labels(queue)

    async def carry_out(
        self, plan: Plan, subscription: Subscription, delivery: Delivery, envelope: Envelope, claim: Claim | None
    ) -> None:
        """Settle one delivery whose claim we hold (None without a ledger)."""
        match plan:
            case Succeed(result):
                await self._succeeded(subscription, delivery, claim, result)
            case RetryAfter(delay, failure):
                await self._retry(subscription, delivery, envelope, claim, delay, failure)
            case Bury(reason, failure):
                await self._dead(subscription, delivery, envelope, claim, reason, failure)

    async def bury_unreadable(self, subscription: Subscription, delivery: Delivery, reason: Reason, failure: Failure) -> None:
        """Dead-letter a message without a readable envelope, with its bytes."""
        if self._ledger is None:
            subscription.reject(delivery)
        else:
            await self._ledger.bury(self._letter(delivery, None, reason, failure))
            subscription.ack(delivery)
        self._count_dead(reason, None, failure)

    async def bury_given_up(self, subscription: Subscription, delivery: Delivery, envelope: Envelope | None, queue: str) -> None:
        """Move a message that the broker gave up from its dead-letter queue into the store: record first, ack second."""
        if self._ledger is None:
            return
        reason = delivery.death or Reason.REJECTED
        failure = Failure("broker", f"the broker gave it up: {reason.value}")
        await self._ledger.bury(replace(self._letter(delivery, envelope, reason, failure), queue=queue))
        subscription.ack(delivery)
        self._count_dead(reason, envelope, failure)

    def drop(self, subscription: Subscription, delivery: Delivery) -> None:
        """Its work is done, or done by another message: forget it."""
        subscription.ack(delivery)
        self._count("repeated")

    async def put_off(self, subscription: Subscription, delivery: Delivery, envelope: Envelope, delay: float) -> None:
        """Let it come back after `delay` seconds, as `envelope` says. What cannot be put off is handed back."""
        message = Message(
            job_id=envelope.job_id,
            job_type=envelope.job_type,
            headers=envelope.headers(),
            body=delivery.body,
            queue=self._queue,
            delay=delay,
            priority=envelope.priority,
        )
        try:
            await subscription.postpone(delivery, message)
        except BrokerError as error:
            _log.warning("could not put a delivery off; handing it back", job_id=envelope.job_id, queue=self._queue, why=str(error))
            await asyncio.sleep(random.uniform(0.5, 1.5) * _HAND_BACK_PAUSE)
            self.hand_back(subscription, delivery)

    def hand_back(self, subscription: Subscription, delivery: Delivery) -> None:
        subscription.hand_back(delivery)
        self._counters["returned"].inc()

    async def give_up_claim(self, claim: Claim) -> None:
        """The run was broken off: let the next one begin without waiting for the lease. Best effort."""
        if self._ledger is None:
            return
        try:
            await self._ledger.settle(Outcome(claim.queue, claim.job_id, claim.token, State.QUEUED, self._clock.wall()))
        except StoreUnavailable as error:
            _log.warning("a claim ends with its lease", job_id=claim.job_id, queue=self._queue, why=str(error))

    def _count(self, settlement: str) -> None:
        self._counters[settlement].inc()
        self._tally.settled += 1
        self._tally.done += settlement != "retry"

    async def _succeeded(self, subscription: Subscription, delivery: Delivery, claim: Claim | None, result: str | None) -> None:
        if claim is not None and not await self._record(claim, State.SUCCEEDED, result=result):
            return self.drop(subscription, delivery)
        subscription.ack(delivery)
        self._count("succeeded")
        return None

    async def _retry(
        self,
        subscription: Subscription,
        delivery: Delivery,
        envelope: Envelope,
        claim: Claim | None,
        delay: float,
        failure: Failure,
    ) -> None:
        due = self._clock.wall() + delay
        if envelope.deadline is not None and due > envelope.deadline:
            return await self._dead(subscription, delivery, envelope, claim, Reason.EXPIRED, failure)
        if claim is not None and not await self._record(claim, State.RETRYING, failure=failure, next_at=due):
            return self.drop(subscription, delivery)
        _log.info(
            "a run failed and is tried again",
            job_id=envelope.job_id,
            queue=self._queue,
            attempt=envelope.attempt,
            trace_id=envelope.trace_id,
            delay_s=round(delay, 3),
            error=f"{failure.kind}: {failure.message}",
        )
        self._count("retry")
        await self.put_off(subscription, delivery, envelope.next_attempt(), delay)
        return None

    async def _dead(
        self,
        subscription: Subscription,
        delivery: Delivery,
        envelope: Envelope,
        claim: Claim | None,
        reason: Reason,
        failure: Failure,
    ) -> None:
        if claim is None:
            subscription.reject(delivery)
        else:
            letter = self._letter(delivery, envelope, reason, failure)
            if not await self._record(claim, State.DEAD, failure=failure, dead=letter):
                return self.drop(subscription, delivery)
            subscription.ack(delivery)
        self._count_dead(reason, envelope, failure)
        return None

    async def _record(
        self,
        claim: Claim,
        state: State,
        *,
        result: str | None = None,
        failure: Failure | None = None,
        next_at: float | None = None,
        dead: DeadLetter | None = None,
    ) -> bool:
        assert self._ledger is not None  # noqa: S101 - a claim exists only with a ledger
        outcome = Outcome(
            claim.queue,
            claim.job_id,
            claim.token,
            state,
            self._clock.wall(),
            result=result,
            failure=failure,
            next_at=next_at,
            dead=dead,
        )
        return await self._ledger.settle(outcome)

    def _letter(self, delivery: Delivery, envelope: Envelope | None, reason: Reason, failure: Failure) -> DeadLetter:
        return DeadLetter(
            dead_id=dead_id(self._queue, envelope.job_id, envelope.replay) if envelope else new_job_id(),
            queue=self._queue,
            reason=reason,
            died_at=self._clock.wall(),
            headers=delivery.headers,
            body=delivery.body,
            attempts=envelope.attempt if envelope else 0,
            job_id=envelope.job_id if envelope else None,
            job_type=envelope.job_type if envelope else None,
            failure=failure,
        )

    def _count_dead(self, reason: Reason, envelope: Envelope | None, failure: Failure) -> None:
        self._count("dead")
        self._buried[reason].inc()
        _log.warning(
            "a delivery is dead",
            job_id=envelope.job_id if envelope else None,
            queue=self._queue,
            attempt=envelope.attempt if envelope else None,
            trace_id=envelope.trace_id if envelope else None,
            reason=reason.value,
            error=f"{failure.kind}: {failure.message}",
        )


_SETTLEMENTS = ("succeeded", "retry", "dead", "returned", "repeated")
