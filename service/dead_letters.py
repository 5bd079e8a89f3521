"""The use cases of an operator: replay dead letters, one or many. No FastAPI here."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from core.clock import Clock
from core.envelope import Envelope
from core.errors import (
    BadRecord,
    BrokerError,
    EnvelopeError,
    HeadraceError,
    NotReplayable,
    StoreUnavailable,
    Unpublishable,
    Unroutable,
)
from core.model import Reason, State
from core.ports import Broker, DeadLetter, Message, OutcomeStore
from telemetry import logs

_log = logs.get("service.dead_letters")

PAGE = 50
# Failures that an answer describes; the others are counted.
MOST_DESCRIBED = 20
# An AMQP short string, which job types and names of headers are: its length is one byte.
_MOST_SHORT = 255

# Errors of one letter. Any other error is the broker's or the store's, and would be the next letter's too.
_OF_ONE = (Unpublishable, NotReplayable, BadRecord)


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """One letter that a bulk replay could not send, and why."""

    dead_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a bulk replay. more: whether dead letters that fit are left. failures: the first of the `failed`."""

    replayed: int
    failed: int
    more: bool
    failures: tuple[NotReplayed, ...]


async def replay(letter: DeadLetter, broker: Broker, store: OutcomeStore, clock: Clock) -> None:
    """Publish it again to its queue, wait for the confirm, then mark the record.

    Raises BrokerError, StoreUnavailable, BadRecord, and NotReplayable for what no broker would take.
    """
    message, number = message_of(letter, await _died_as(letter, store), clock.wall())
    try:
        (confirm,) = broker.publish([message])
    except ValueError as error:  # an encoder's word on what was not looked at here
        raise NotReplayable(f"the message cannot be encoded: {logs.brief(error)}") from None
    try:
        await confirm
    except Unroutable as error:
        what = "bring the contract back that sends it there, or drop the dead letter"
        raise NotReplayable(f"{error}: no queue of this release takes it; {what}") from None
    await store.replayed(letter.dead_id, clock.wall(), number)


async def replay_many(
    queue: str | None, job_type: str | None, most: int, rate: float, broker: Broker, store: OutcomeStore, clock: Clock
) -> Replayed:
    """Replay up to `most` that were not replayed yet, `rate` a second; a letter that cannot be sent stops no other.

    Raises BrokerError and StoreUnavailable where nothing was done before; later they end it, and are the last failure.
    """
    tally, cursor = _Tally(most), None
    try:
        while True:
            page = await store.dead_letters(queue=queue, job_type=job_type, cursor=cursor, limit=PAGE)
            for letter in page.items:
                if letter.replayed_at is not None:
                    continue
                if tally.full:
                    return tally.told(more=True)
                tally.trying = letter.dead_id
                try:
                    await replay(letter, broker, store, clock)
                    tally.replayed += 1
                except _OF_ONE as error:
                    tally.failed(error)
                await asyncio.sleep(1.0 / rate)
            cursor = page.cursor
            if cursor is None:
                return tally.told(more=False)
    except (BrokerError, StoreUnavailable) as error:
        if tally.untouched:
            raise
        tally.failed(error)
        return tally.told(more=True)


class _Tally:
    """Counts what a bulk replay does. Failures count to their own `most`: letters that fail hide no others behind them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._failures: list[NotReplayed] = []
        self._reasons: Counter[str] = Counter()
        self.replayed = 0
        self.trying = ""

    @property
    def full(self) -> bool:
        return max(self.replayed, self._reasons.total()) >= self._most

    @property
    def untouched(self) -> bool:
        return not self.replayed and not self._reasons

    def failed(self, error: HeadraceError) -> None:
        self._reasons[type(error).__name__] += 1
        if len(self._failures) < MOST_DESCRIBED:
            self._failures.append(NotReplayed(self.trying, logs.brief(error)))

    def told(self, *, more: bool) -> Replayed:
        failed = self._reasons.total()
        if failed:
            _log.warning("dead letters could not be replayed", reasons=dict(self._reasons), replayed=self.replayed)
        return Replayed(self.replayed, failed, more, tuple(self._failures))


def message_of(letter: DeadLetter, died_as: int, now: float) -> tuple[Message, int]:
    """The message that a replay sends, with attempts from 1, and the number of that replay. A letter without a readable envelope is
    sent just as it came.

    died_as: the replay that died last, as the store has it. Raises NotReplayable.
    """
    try:
        envelope = Envelope.read(letter.headers, now)
    except EnvelopeError:
        stray = Message(letter.job_id or "", letter.job_type or "", letter.headers, letter.body, queue=letter.queue)
        return _sendable(stray), died_as + 1
    envelope = envelope.replayed(max(envelope.replay, died_as) + 1, crashed=letter.reason is Reason.CRASHED)
    body, queue, headers = letter.body, letter.queue, envelope.headers()
    message = Message(envelope.job_id, envelope.job_type, headers, body, queue=queue, priority=envelope.priority)
    return _sendable(message), envelope.replay


async def _died_as(letter: DeadLetter, store: OutcomeStore) -> int:
    """The replay in which the delivery is dead now. A letter that is replayed again after its replay has died must be a newer
    replay than that one, or it would be taken for it, and dropped.

    Only where it is dead: a replay that is queued, runs or has succeeded is the one that this letter asks for, and when a bulk
    replay is asked for again after a crash between publish and mark, it must not run a second time.
    """
    record = await store.job(letter.job_id) if letter.job_id else None
    dead = (d.replay for d in record.deliveries if d.queue == letter.queue and d.state is State.DEAD) if record else ()
    return max(dead, default=0)


def _sendable(message: Message) -> Message:
    """The same. Raises NotReplayable for what AMQP has no room for, or what has no UTF-8."""
    try:
        if len(message.job_type.encode()) > _MOST_SHORT:
            raise NotReplayable(f"its job type has more than {_MOST_SHORT} bytes: {message.job_type[:40]!r}…")
        for name, value in message.headers.items():
            value.encode()
            if len(name.encode()) > _MOST_SHORT:
                raise NotReplayable(f"the name of a header has more than {_MOST_SHORT} bytes: {name[:40]!r}…")
    except UnicodeEncodeError:
        raise NotReplayable("its job type or a header has lone surrogates, which have no UTF-8") from None
    return message
