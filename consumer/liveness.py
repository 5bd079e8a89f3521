"""Whether this consumer still consumes. Connected, subscribed, with messages ready, and given none: that is not alive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consumer.runtime import QueueRuntime
from jobs.errors import BrokerError
from telemetry import logs

_log = logs.get("consumer.liveness")

# So often each queue is looked at within the stall time; it must look stalled at every one of them.
_LOOKS = 3


class Liveness:
    """Looks at each queue; `stalled` names those that get nothing though they should."""

    def __init__(self, queues: Sequence[QueueRuntime], stall_seconds: float) -> None:
        self._queues = queues
        self._interval = stall_seconds / _LOOKS
        self._strikes = {runtime.queue: 0 for runtime in queues}
        self._seen = {runtime.queue: 0 for runtime in queues}

    @property
    def stalled(self) -> list[str]:
        return [queue for queue, strikes in self._strikes.items() if strikes >= _LOOKS]

    async def watch(self) -> None:
        """Look again and again, until cancelled; also hand back what has been held for too long."""
        while True:
            await asyncio.sleep(self._interval)
            for runtime in self._queues:
                runtime.hand_back_overdue()
                await self.look(runtime)

    async def look(self, runtime: QueueRuntime) -> None:
        """One look at one queue."""
        arrived = runtime.arrived != self._seen[runtime.queue]
        self._seen[runtime.queue] = runtime.arrived
        if arrived or runtime.paused or not runtime.subscribed or runtime.credit <= 0 or not await _has_ready(runtime):
            self._strikes[runtime.queue] = 0
            return
        self._strikes[runtime.queue] += 1
        if self._strikes[runtime.queue] == _LOOKS:
            _log.error("messages are ready, credit is free, and none arrives: not alive", queue=runtime.queue)


async def _has_ready(runtime: QueueRuntime) -> bool:
    try:
        return (await runtime.depth()).ready > 0
    except BrokerError:
        return False  # unknown: the broker is away, which a restart of ours does not mend
