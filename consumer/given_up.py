"""What the broker itself gave up on (its delivery limit, its expiry), moved from `<queue>.dead` into the outcome store."""

from __future__ import annotations

import asyncio

from consumer.settle import Settler
from jobs.clock import Clock
from jobs.envelope import Envelope
from jobs.errors import EnvelopeError, StoreUnavailable
from jobs.ports import Broker, Delivery
from jobs.topology import dead_queue
from telemetry import logs

_log = logs.get("consumer.given_up")

# Dead letters are few; this many are moved to the store at once.
_PREFETCH = 20


class GivenUp:
    """Moves the dead letters of one queue: record first, ack second, so that nothing is lost while the store is away."""

    def __init__(self, queue: str, broker: Broker, settler: Settler, clock: Clock) -> None:
        self.subscription = broker.subscribe(dead_queue(queue), _PREFETCH, self._deliver)
        self.moving: set[asyncio.Task[None]] = set()
        self._queue = queue
        self._settler = settler
        self._clock = clock

    def _deliver(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._move(delivery))
        self.moving.add(task)
        task.add_done_callback(self.moving.discard)

    async def _move(self, delivery: Delivery) -> None:
        try:
            envelope = Envelope.read(delivery.headers, self._clock.wall())
        except EnvelopeError:
            envelope = None
        try:
            await self._settler.bury_given_up(self.subscription, delivery, envelope, self._queue)
        except (StoreUnavailable, asyncio.CancelledError) as error:
            _log.warning("a dead letter waits at the broker", queue=self._queue, why=str(error) or "draining")
            self.subscription.hand_back(delivery)
