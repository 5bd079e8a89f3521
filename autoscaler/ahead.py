"""Has replicas take nothing ahead for a while, where jobs wait in one of them beside a free slot of another (`misplaced.py`)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

from autoscaler.misplaced import AGAIN, JITTER, LEASE, misplaced
from autoscaler.model import Pause
from autoscaler.ports import Replica, Workload
from autoscaler.runs import Runs
from core.clock import Clock
from telemetry import logs

_log = logs.get("autoscaler.ahead")

Put = Callable[[str, Sequence[tuple[Replica, float]]], Awaitable[None]]


class TakenAhead:
    """Of one workload."""

    def __init__(self, runs: Runs, put: Put | None, clock: Clock) -> None:
        """put: has replicas take nothing ahead from a queue, each for some seconds; takes bounded time. None: no replica is asked,
        as in a dry run."""
        self._runs = runs
        self._put = put
        self._clock = clock
        self._asked: dict[str, float] = {}  # by queue, when replicas were asked last

    async def settle(self, workload: Workload, queues: Iterable[str]) -> None:
        """Ask all that tell what they have taken ahead, where that helps. It is no scaling, and no cordon."""
        if self._put is None or workload.ends_itself or workload.pause is Pause.ALL:
            return
        now = self._clock.steady()
        for queue in queues:
            if now - self._asked.get(queue, float("-inf")) < AGAIN:
                continue
            told = [(replica, of) for replica in workload.replicas if (of := self._runs.ahead(replica, queue)) is not None]
            if misplaced(of for _, of in told):
                self._asked[queue] = now
                _log.info("jobs wait behind long ones, beside free slots: nothing is taken ahead for a while", queue=queue)
                await self._put(queue, [(one, LEASE * random.uniform(1.0 - JITTER, 1.0 + JITTER)) for one, _ in told])
