"""The ports: what a broker and an outcome store must do. An adapter in `adapters/` fills each.

Every adapter passes the port's contract suite in `tests/contract/`, which is the specification in full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from core.model import Reason, State

# ---------------------------------------------------------------------------------------------------------------- queue


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way to the broker.

    headers: text only, as `Envelope.headers` gives them.
    queue: the one queue that gets it; None is every queue that is bound for `job_type`.
    delay: seconds to wait before it can be taken; only with a queue.
    """

    job_id: str
    job_type: str
    headers: dict[str, str]
    body: bytes
    queue: str | None = None
    delay: float = 0.0
    priority: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One message that a consumer was given, and must settle.

    headers: those of the message that are text; the body is as it was published.
    count: how often it was handed out before, as far as the broker knows.
    death: why the broker itself gave it up; only in a dead-letter queue.
    tag: the adapter's own handle.
    """

    queue: str
    headers: dict[str, str]
    body: bytes
    count: int = 0
    death: Reason | None = None
    tag: Any = None


@dataclass(frozen=True, slots=True)
class Depth:
    """The number of messages in a queue. None is unknown, which is not 0."""

    ready: int
    unacked: int | None = None
    delayed: int | None = None
    consumers: int | None = None


class Subscription(Protocol):
    """A consumer's hold on one queue. A delivery stays its own until it is settled or the subscription closes.

    The three sync methods never block and never fail: they are gathered and sent together at the end of the loop's turn.
    On a connection that has died they do nothing, because the broker hands the delivery out again.
    """

    def ack(self, delivery: Delivery) -> None:
        """It is done with: forget it."""

    def hand_back(self, delivery: Delivery) -> None:
        """Somebody else may have it now."""

    def reject(self, delivery: Delivery) -> None:
        """Move it to the dead-letter queue beside this one."""

    async def postpone(self, delivery: Delivery, message: Message) -> None:
        """Put `message` (same queue, with its delay) in the place of `delivery`: durable first, then forget the old.

        Raises BrokerError, within the publish timeout, when that could not be made sure of; the delivery is then still held, and it
        may be tried again. Unpublishable among them will be raised again. One that is no longer held, because its connection has
        died, is left alone, as by the three above.
        """

    async def pause(self) -> None:
        """Take nothing more. Held deliveries stay held."""

    async def resume(self) -> None:
        """Take deliveries, from now on or again; held deliveries still count towards the prefetch. Returns when the broker counts
        us as a consumer, or after the connect timeout: it goes on in the background."""

    def limit(self, prefetch: int) -> None:
        """Hold at most `prefetch` deliveries. A greater limit counts from the next `resume` on; a lower one from the next after a
        `pause`: deliveries that were taken before, or are on their way, stay."""

    async def close(self) -> None:
        """Take nothing more, and hand back what is held."""

    @property
    def active(self) -> bool:
        """Whether the broker, as far as we know, counts us as a consumer of the queue."""


class Broker(Protocol):
    """Durable queues: at least once, in about the order of publishing, each message to every queue bound for it.

    lost: the queue of what was delayed for a queue that is no more; None where that keeps what is delayed for it. Each of its
    deliveries names the queue that it was for.
    """

    @property
    def lost(self) -> str | None: ...

    async def open(self) -> None:
        """Connect and declare the topology. Returns when ready or after the connect timeout, and goes on trying:
        `unready` tells. Raises nothing for a broker that is unavailable."""

    async def close(self) -> None:
        """Send what is gathered, close the connections. Subscriptions are closed before."""

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        """Send all messages of `window` in one go; a future each, done when the broker has made that one durable.

        A future fails with BrokerUnavailable or WindowFull (nothing was sent, now), Unpublishable or TooLarge (nothing was sent,
        and trying again is useless), Unroutable or PublishTimeout; one message's fault fails no other's. Never blocks, never
        raises. The caller bounds how many are in flight, and may give up on a future by cancelling it.
        """

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> Subscription:
        """A subscription that is paused: its `resume` begins, so that the first delivery finds its receiver ready.

        It calls `deliver` for each delivery, with at most `prefetch` unsettled, and takes it up again after a reconnect.
        `deliver` must only hand the delivery on; the runtime's own tasks work on it. `queue` may be a dead-letter queue.
        """

    async def depth(self, queue: str) -> Depth:
        """Raises BrokerUnavailable when nothing is known."""

    def unready(self) -> str | None:
        """Why jobs cannot be published now, or None."""

    async def advice(self) -> list[str]:
        """Advice to an operator about a broker to which jobs can be published nevertheless. Raises BrokerUnavailable."""


# ------------------------------------------------------------------------------------------------- outcomes and claims


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that was accepted, with the queues that get it."""

    job_id: str
    job_type: str
    queues: tuple[str, ...]
    accepted_at: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for the right to run one delivery; with GRANTED, that right. `token` is new for each claim; `lease` is in seconds."""

    queue: str
    job_id: str
    job_type: str
    accepted_at: float
    replay: int
    attempt: int
    token: str
    lease: float


class Verdict(StrEnum):
    """The answer to a claim. The rules, on the stored record for (queue, job_id); `core/claims.py` computes them:

    nothing                                            → GRANTED
    a newer replay                                     → STALE
    an older replay                                    → HELD while its run's lease is alive, then GRANTED
    succeeded, dead, cancelled                         → SETTLED
    running, lease alive                               → HELD, with the seconds that are left of it
    running, lease over, this same attempt             → CRASHED: the run never ended, and its token is void
    retrying after this same attempt                   → WAITING, with the seconds until the retry is due
    else a later attempt                               → STALE
    else an earlier attempt, queued, unconfirmed       → GRANTED
    """

    GRANTED = "granted"  # run it
    CRASHED = "crashed"  # the claim is ours, for settling what its last run left behind: that attempt is over
    SETTLED = "settled"  # it has ended: ack
    HELD = "held"  # somebody runs it: come back later, no attempt counted
    WAITING = "waiting"  # its retry was recorded, but maybe not published: publish it again
    STALE = "stale"  # a later message does its work: ack

    @property
    def ours(self) -> bool:
        """Whether the claim is held now, and to be settled."""
        return self in (Verdict.GRANTED, Verdict.CRASHED)


@dataclass(frozen=True, slots=True)
class Answer:
    verdict: Verdict
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed. `traceback` is cut to a bounded length by the writer."""

    kind: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that ended dead. Kept until an operator drops it.

    headers and body are the message's own, so that a replay can send it again, whatever it was.
    """

    dead_id: str
    queue: str
    reason: Reason
    died_at: float
    headers: dict[str, str]
    body: bytes
    attempts: int = 0
    job_id: str | None = None
    job_type: str | None = None
    failure: Failure | None = None
    replayed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claimed delivery ends for now.

    state: SUCCEEDED, RETRYING, DEAD, CANCELLED; or QUEUED, which gives the claim up (the delivery was handed back).
    result: JSON text, with SUCCEEDED.
    next_at: Unix seconds at which the retry is due, with RETRYING; for people, since the store's clock may differ from ours: it
        counts `delay` from when it writes the outcome.
    dead: stored in the same transaction, with DEAD.
    """

    claim: Claim
    state: State
    at: float
    result: str | None = None
    failure: Failure | None = None
    next_at: float | None = None
    dead: DeadLetter | None = None

    @property
    def delay(self) -> float:
        """Seconds until the retry is due."""
        return 0.0 if self.next_at is None else max(0.0, self.next_at - self.at)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The store's record of one delivery. Times are Unix seconds."""

    queue: str
    state: State
    attempts: int = 0
    replay: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    next_at: float | None = None
    result: str | None = None
    failure: Failure | None = None
    progress: str | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    job_id: str
    job_type: str
    accepted_at: float
    deliveries: tuple[DeliveryRecord, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class DeadPage:
    """One page of dead letters, newest first; `cursor` gives the next page, None is the end."""

    items: tuple[DeadLetter, ...]
    cursor: str | None = None


class OutcomeStore(Protocol):
    """Outcomes, claims and dead letters.

    Every method raises StoreUnavailable, within a bounded time, when it cannot: nothing is then known of what was asked, and all of
    it may be asked again. A method raises BadRecord where the store works and one item is at fault, the record that is stored of it
    or what was to be written; of a list nothing is done then, and the caller asks for its items apart (`core/coalesce.py`).

    Lists are worked off in one command or one transaction (one for each slot, on a cluster); an answer each, in the same order.
    A list may name the same delivery twice: its entries take effect one after the other.

    Texts are given with what stores cannot take already escaped (`core/text.py`).
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Return if the store takes writes: a server that answers and refuses them is unavailable."""

    async def queued(self, records: Sequence[Queued]) -> None:
        """Record jobs as queued; a delivery of which anything is known already stays as it is, but for
        `unconfirmed`, which moves on to `queued`: it was published again and confirmed."""

    async def unconfirmed(self, records: Sequence[Queued]) -> None:
        """The broker did not confirm these: `queued`, or nothing, becomes `unconfirmed`. Other states stay."""

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        """Answer by `jobs/claims.judge`; GRANTED and CRASHED are recorded as running, with the claim's token and lease."""

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Begin the leases again, and the time for which the records are kept. A claim that was forgotten is recorded again.
        False: it is no longer ours (`jobs/claims.accepts`, for RUNNING)."""

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Write outcomes, and end their claims. A claim that was forgotten does not matter: the outcome is written all the same.
        The same outcome again, because its answer was lost, is accepted again.
        False: refused, the claim is somebody else's, or was settled otherwise (`jobs/claims.accepts`)."""

    async def progress(self, claim: Claim, progress: str) -> bool:
        """Note how far a run is (JSON text). False: the claim is no longer ours, or not known."""

    async def job(self, job_id: str) -> JobRecord | None: ...

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        """Record dead letters of messages that cannot have a claim; no delivery changes by it.

        A letter that is there already stays, here and in `settle`; one that was replayed since is there again, not replayed."""

    async def dead_letters(
        self, *, queue: str | None = None, job_type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> DeadPage:
        """List dead letters, the newest first. Raises ValueError for a cursor that no page gave.

        The work of one call is bounded: with both filters a page may be short, or empty, and still have a cursor."""

    async def dead_letter(self, dead_id: str) -> DeadLetter | None: ...

    async def replayed(self, dead_id: str, at: float, replay: int) -> bool:
        """Mark a dead letter as replayed; its delivery, if it is `dead` in an older replay, becomes `queued` in `replay`.
        False: there is none."""

    async def drop(self, dead_id: str) -> bool:
        """Forget a dead letter. False: there is none."""

    async def purge(self) -> int:
        """Delete a bounded batch of what is past its retention, never dead letters; how many went. Adapters whose server
        does so by itself return 0."""
