"""Messages that were delayed for a queue that was gone by then: into the queue if it exists again, else to the dead letters."""

from __future__ import annotations

from consumer.ledger import Ledger
from consumer.mover import Mover
from consumer.settle import Settler
from consumer.taken import Taken
from consumer.tally import Tally
from consumer.way import Tools
from core.envelope import Envelope
from core.errors import BrokerError, Unroutable
from core.ports import Broker, Message


class Lost:
    """Works off the broker's `lost` queue, whichever queues this process consumes: no other program may know those that are gone.

    source: that queue. queues: those that the contracts know, which will be there again.
    """

    def __init__(self, source: str, queues: tuple[str, ...], broker: Broker, ledger: Ledger, tools: Tools) -> None:
        self._known = frozenset(queues)
        settler = Settler(source, ledger, tools.clock, tools.chance, Tally(), tools.settings.hold_limit)
        self._mover = Mover(source, None, broker, ledger, settler, tools, self._move)

    async def start(self) -> None:
        await self._mover.subscription.resume()

    async def drain(self, seconds: float) -> None:
        await self._mover.subscription.pause()
        await self._mover.drain(seconds)
        await self._mover.subscription.close()

    async def _move(self, taken: Taken) -> None:
        def gone(error: BrokerError) -> bool:
            return isinstance(error, Unroutable) and taken.queue not in self._known

        if not await self._mover.publish(taken, _as_it_came(taken), gone):
            await self._mover.bury(taken, _likewise)


async def _likewise(envelope: Envelope, _: float) -> Envelope:
    """A retry that was never published would come here."""
    return envelope


def _as_it_came(taken: Taken) -> Message:
    """For its queue, now."""
    envelope = taken.readable
    job_id, job_type, priority = (envelope.job_id, envelope.job_type, envelope.priority) if envelope else ("", "", 0)
    return Message(job_id, job_type, taken.delivery.headers, taken.delivery.body, taken.queue, priority=priority)
