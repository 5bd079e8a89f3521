"""The broker's own figure: the messages in each queue, asked of the queue's leader, so that it is true at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from autoscaler.model import Figure
from autoscaler.ports import Sighting
from core.clock import Clock
from core.errors import BrokerError, SignalError
from core.ports import Broker


class DepthSignal:
    """On any broker. RabbitMQ tells what is ready and no more; SQLite also tells what is held."""

    name = "depth"

    def __init__(self, broker: Broker, clock: Clock, timeout: float) -> None:
        """timeout: seconds for all queues together."""
        self._broker = broker
        self._clock = clock
        self._timeout = timeout

    async def open(self) -> None:
        await self._broker.open()

    async def close(self) -> None:
        await self._broker.close()

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        try:
            async with asyncio.timeout(self._timeout):
                found = await asyncio.gather(*(self._one(queue) for queue in queues))
        except TimeoutError:
            raise SignalError(f"the broker did not tell its depths within {self._timeout:g} s") from None
        seen = {queue: sighting for queue, sighting in zip(queues, found, strict=True) if isinstance(sighting, Sighting)}
        if queues and not seen:
            raise SignalError(str(found[0]))
        return seen

    async def _one(self, queue: str) -> Sighting | BrokerError:
        """A queue that is missing takes no other's figures away."""
        asked = self._clock.steady()
        try:
            depth = await self._broker.depth(queue)
        except BrokerError as error:
            return error
        figures = {"ready_jobs": Figure(depth.ready, asked)}
        if depth.unacked is not None:
            figures["unacked"] = Figure(depth.unacked, asked)
        return Sighting(figures)
