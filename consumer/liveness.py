"""Whether this consumer still consumes. Messages ready and none given, a broker and no subscription, a run that never ends: that is
not alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from consumer.runtime import QueueRuntime
from core.errors import BrokerError
from telemetry import logs
from telemetry.supervisor import Beat

_log = logs.get("consumer.liveness")

# So often each queue is looked at within the stall time; it must look stalled at every one of them.
_LOOKS = 3


class Liveness:
    """Looks at each queue; `stalled` says what is wrong with those that get nothing though they should.

    give_up: called with the reason when runs have not ended long after their time limit: only the end of the process ends them,
    and until then they keep slots, and whatever waits behind them.
    """

    def __init__(self, queues: Sequence[QueueRuntime], stall_seconds: float, give_up: Callable[[str], None] | None = None) -> None:
        self._queues = queues
        self._stall_seconds = stall_seconds
        self._give_up = give_up
        self._given_up = False
        self._interval = stall_seconds / _LOOKS
        self._strikes = {runtime.queue: 0 for runtime in queues}
        self._seen = {runtime.queue: 0 for runtime in queues}
        self._why: dict[str, str] = {}

    @property
    def stalled(self) -> list[str]:
        return [f"{queue}: {self._why[queue]}" for queue, strikes in self._strikes.items() if strikes >= _LOOKS]

    async def watch(self, beat: Beat) -> None:
        """Look again and again; also hand back what has been held for too long. For a Supervisor."""
        while True:
            await asyncio.sleep(self._interval)
            for runtime in self._queues:
                beat()
                runtime.hand_back_overdue()
                await self.look(runtime)

    async def look(self, runtime: QueueRuntime) -> None:
        """One look at one queue."""
        if staying := runtime.overstaying(self._stall_seconds):
            self._stay(runtime.queue, staying)
            return
        wrong = await self._wrong(runtime)
        self._seen[runtime.queue] = runtime.arrived
        if wrong is None:
            self._strikes[runtime.queue] = 0
            return
        self._why[runtime.queue] = wrong
        self._strikes[runtime.queue] += 1
        if self._strikes[runtime.queue] == _LOOKS:
            _log.error("not alive", queue=runtime.queue, why=wrong)

    def _stay(self, queue: str, runs: int) -> None:
        why = f"{runs} runs have not ended {self._stall_seconds:g} s after their time limit"
        told = self._strikes[queue] >= _LOOKS
        self._why[queue], self._strikes[queue] = why, _LOOKS
        if not told:
            _log.error("not alive", queue=queue, why=why)
        if self._give_up is not None and not self._given_up:  # also of a queue that was not alive for another reason before
            self._given_up = True
            self._give_up(f"{queue}: {why}")

    async def _wrong(self, runtime: QueueRuntime) -> str | None:
        if runtime.paused or runtime.arrived != self._seen[runtime.queue]:
            return None
        if runtime.unsubscribed:
            return "the broker can be used, and we are not subscribed" if runtime.reachable else None
        if runtime.stuck or runtime.credit <= 0 or not await _has_ready(runtime):
            return None
        return "messages are ready, and none arrives"


async def _has_ready(runtime: QueueRuntime) -> bool:
    try:
        return (await runtime.depth()).ready > 0
    except BrokerError:
        return False  # unknown: the broker is unavailable, which a restart of ours does not mend
