"""The figures that a queue's runtime counts of itself for the controller."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from core.figures import RECENT_SECONDS, QueueFigures, p95
from core.lasting import Lasting
from core.returning import Returning

# A quantile of this number of samples is good to a few per cent; more would cost memory and add nothing.
_MOST_RECENT = 1000


class _Ended(NamedTuple):
    at: float
    wait: float
    handler: float
    trace: str


class Tally:
    """Times are steady seconds. A run is begun and ended; a delivery is settled."""

    def __init__(self) -> None:
        self.settled = 0
        self.done = 0
        self._busy = 0.0
        self._running = 0
        self._started_sum = 0.0  # of those that run: their seconds so far are running * now - this
        self._recent: deque[_Ended] = deque(maxlen=_MOST_RECENT)
        self._lasting = Lasting()
        self.returning = Returning()

    def begin(self, run: object, now: float, job_type: str, limit: float) -> None:
        """run: any object of its own. limit: seconds that it may take."""
        self._lasting.begin(run, now, job_type, limit)
        self._running += 1
        self._started_sum += now

    def end(self, run: object, began: float, now: float, wait: float, trace: str, *, well: bool) -> None:
        """wait: seconds from acceptance to the run. well: it succeeded."""
        self._lasting.end(run, now, well=well)
        self._running -= 1
        self._started_sum -= began
        self._busy += now - began
        self._recent.append(_Ended(now, wait, now - began, trace))

    def figures(self, held: int, now: float, *, paused: bool, cordoned: bool) -> QueueFigures:
        """held: deliveries that are not settled. paused: whether nothing is begun for now. cordoned: whether nothing is taken."""
        while self._recent and self._recent[0].at < now - RECENT_SECONDS:
            self._recent.popleft()
        busy = self._busy + max(0.0, self._running * now - self._started_sum)
        returned, soon = self.returning.returned(now), self.returning.soon(now)
        lasts = self._lasting.seconds(now)
        of_now = self._running, held, self.settled, self.done, busy, lasts, paused, cordoned, returned, soon
        if not self._recent:
            return QueueFigures(*of_now)
        waits, handlers = [e.wait for e in self._recent], [e.handler for e in self._recent]
        slow = max(self._recent, key=lambda e: e.wait + e.handler)
        return QueueFigures(
            *of_now,
            len(self._recent),
            sum(waits) / len(waits),
            p95(waits),
            sum(handlers) / len(handlers),
            p95(handlers),
            slow.wait + slow.handler,
            slow.trace,
        )
