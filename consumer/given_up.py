"""Messages that the broker itself gave up on (its delivery limit, its expiry), moved from `<queue>.dead` into the outcome store."""

from __future__ import annotations

from consumer.ledger import Ledger
from consumer.mover import Mover
from consumer.settle import Settler
from consumer.taken import Taken
from consumer.way import Tools
from core.envelope import Envelope
from core.ports import Broker, Message
from core.topology import dead_queue


class GivenUp:
    """Moves the dead letters of one queue: record first, ack second, so that nothing is lost while the store is unavailable."""

    def __init__(self, queue: str, broker: Broker, ledger: Ledger, settler: Settler, tools: Tools) -> None:
        self._mover = Mover(dead_queue(queue), queue, broker, ledger, settler, tools, self._move)
        self.subscription = self._mover.subscription

    async def drain(self, seconds: float) -> None:
        await self._mover.drain(seconds)

    async def _move(self, taken: Taken) -> None:
        async def into_its_queue(envelope: Envelope, delay: float) -> None:
            headers, body, priority = envelope.headers(), taken.delivery.body, envelope.priority
            await self._mover.publish(
                taken, Message(envelope.job_id, envelope.job_type, headers, body, taken.queue, delay, priority)
            )

        await self._mover.bury(taken, into_its_queue)
