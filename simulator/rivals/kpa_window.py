"""The KPA's windows. Seconds; a window's buckets are one scrape wide.

Source: knative/serving pkg/autoscaler/aggregation/bucketing.go (TimedFloat64Buckets) and pkg/autoscaler/aggregation/max/window.go.
"""

from __future__ import annotations

import math
from collections import deque

from autoscaler.model import UNKNOWN, Unknown
from simulator.rivals.figures import SLACK


class WindowAverage:
    """The mean of what was recorded in the last `window` seconds (WindowAverage).

    A window that is not yet full is averaged over what there is; a gap within it counts as 0; a gap at its end shortens it.
    """

    def __init__(self, window: float, width: float) -> None:
        self._buckets = math.ceil(window / width - SLACK)
        self._width = width
        self._values: deque[tuple[int, float]] = deque()
        self._first = 0

    def record(self, now: float, value: float) -> None:
        """One value a bucket. After a whole window of silence it begins again."""
        index = self._index(now)
        if not self._values or index - self._values[-1][0] >= self._buckets:
            self._values.clear()
            self._first = index
        self._values.append((index, value))
        self._drop(index)

    def average(self, now: float) -> float | Unknown:
        """Rounded down to 6 digits, as Knative does. Unknown when a whole window was silent (IsEmpty)."""
        index = self._index(now)
        self._drop(index)
        if not self._values:
            return UNKNOWN
        last = self._values[-1][0]
        count = min(last - self._first + 1, self._buckets - (index - last))
        total = math.fsum(value for _, value in self._values)
        return math.floor(total / count * 1e6) / 1e6

    def _index(self, now: float) -> int:
        return math.floor((now + SLACK) / self._width)

    def _drop(self, index: int) -> None:
        while self._values and index - self._values[0][0] >= self._buckets:
            self._values.popleft()


class Greatest:
    """The greatest of the last `window` seconds: scale-down-delay."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._falling: deque[tuple[float, int]] = deque()  # each is greater than all after it

    def of(self, wanted: int, now: float) -> int:
        """Takes `wanted` in and tells the greatest that is younger than the window."""
        while self._falling and self._falling[-1][1] <= wanted:
            self._falling.pop()
        self._falling.append((now, wanted))
        while now - self._falling[0][0] >= self._window - SLACK:
            self._falling.popleft()
        return self._falling[0][1]
