"""The use cases of an operator: replay dead letters, one or many. No FastAPI here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from jobs.clock import Clock
from jobs.envelope import Envelope
from jobs.errors import EnvelopeError
from jobs.ports import Broker, DeadLetter, Message, OutcomeStore

PAGE = 50


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a bulk replay did. more: whether dead letters that fit are left."""

    replayed: int
    more: bool


async def replay(letter: DeadLetter, broker: Broker, store: OutcomeStore, clock: Clock) -> None:
    """Publish it again to its queue, wait for the confirm, then mark the record. Raises BrokerError, StoreUnavailable."""
    await broker.publish([message_of(letter, clock.wall())])[0]
    await store.replayed(letter.dead_id, clock.wall())


async def replay_many(
    queue: str | None, job_type: str | None, most: int, rate: float, broker: Broker, store: OutcomeStore, clock: Clock
) -> Replayed:
    """Replay up to `most` that were not replayed yet, `rate` a second. Raises BrokerError, StoreUnavailable."""
    done, cursor = 0, None
    while True:
        page = await store.dead_letters(queue=queue, job_type=job_type, cursor=cursor, limit=PAGE)
        for letter in page.items:
            if letter.replayed_at is not None:
                continue
            if done == most:
                return Replayed(done, True)
            await replay(letter, broker, store, clock)
            done += 1
            await asyncio.sleep(1.0 / rate)
        cursor = page.cursor
        if cursor is None:
            return Replayed(done, False)


def message_of(letter: DeadLetter, now: float) -> Message:
    """The message that a replay sends: attempts anew. What has no readable envelope is sent just as it came."""
    try:
        envelope = Envelope.read(letter.headers, now).replayed()
    except EnvelopeError:
        return Message(letter.job_id or "", letter.job_type or "", letter.headers, letter.body, queue=letter.queue)
    return Message(
        envelope.job_id, envelope.job_type, envelope.headers(), letter.body, queue=letter.queue, priority=envelope.priority
    )
