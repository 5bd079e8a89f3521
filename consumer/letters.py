"""Dead letters: the parts of a delivery that is given up which are kept, and how the dead letter is reported."""

from __future__ import annotations

from dataclasses import replace

from consumer.ledger import Ledger
from consumer.taken import Taken
from consumer.tally import Tally
from core.chance import Chance
from core.clock import Clock
from core.errors import BadRecord
from core.identity import dead_id
from core.model import Reason
from core.ports import DeadLetter, Failure
from core.text import safe
from telemetry import logs, metrics

_log = logs.get("consumer.settle")

# Characters of one header, in a letter that the store would not take with its headers as they came.
_MOST_HEADER = 1000


class Letters:
    """Writes the dead letters of one queue."""

    def __init__(self, queue: str, ledger: Ledger | None, clock: Clock, chance: Chance, tally: Tally) -> None:
        self._queue = queue
        self._ledger = ledger
        self._clock = clock
        self._chance = chance
        self._tally = tally
        # From 0 on: Prometheus sees no increase in a counter that begins with 1, and the first dead letter would raise no alert.
        self._buried = {reason: metrics.DEAD_LETTERS.labels(queue, reason.value) for reason in Reason}
        self._dead = metrics.DELIVERIES.labels(queue, "dead")

    def of(self, taken: Taken, reason: Reason, failure: Failure) -> DeadLetter:
        """The letter of one delivery, with the message's own headers and bytes."""
        envelope = taken.readable
        return DeadLetter(
            dead_id=dead_id(taken.queue, envelope.job_id, envelope.replay) if envelope else self._chance.uuid7(),
            queue=taken.queue,
            reason=reason,
            died_at=self._clock.wall(),
            headers=taken.delivery.headers,
            body=taken.delivery.body,
            attempts=envelope.attempt if envelope else 0,
            job_id=envelope.job_id if envelope else None,
            job_type=envelope.job_type if envelope else None,
            failure=failure,
        )

    async def bury(self, taken: Taken, reason: Reason, failure: Failure) -> None:
        """Record a letter without a claim, then forget the message; without a ledger, leave it to the broker's dead-letter queue.

        Raises StoreUnavailable, or BadRecord where the store takes this letter in no shape.
        """
        if self._ledger is None:
            taken.subscription.reject(taken.delivery)
        else:
            letter = self.of(taken, reason, failure)
            try:
                await self._ledger.bury(letter)
            except BadRecord as error:
                _log.warning("a dead letter is kept in a plainer shape", queue=self._queue, why=logs.brief(error))
                await self._ledger.bury(_plainer(letter))
            taken.subscription.ack(taken.delivery)
        self.count(reason, taken, failure)

    def count(self, reason: Reason, taken: Taken, failure: Failure) -> None:
        """One delivery is dead."""
        envelope = taken.readable
        self._dead.inc()
        self._tally.settled += 1
        self._tally.done += 1
        self._buried[reason].inc()
        _log.warning(
            "a delivery is dead",
            job_id=envelope.job_id if envelope else None,
            queue=taken.queue,
            attempt=envelope.attempt if envelope else None,
            trace_id=envelope.trace_id if envelope else None,
            reason=reason.value,
            error=f"{failure.kind}: {failure.message[:300]}",
        )


def _plainer(letter: DeadLetter) -> DeadLetter:
    """Its bytes, its job, and what every store can take of the rest."""
    headers = {safe(name, 200): safe(value, _MOST_HEADER) for name, value in letter.headers.items()}
    failure = Failure("record", "its failure could not be written")
    return replace(letter, headers=headers, failure=failure)
