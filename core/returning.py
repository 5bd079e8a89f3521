"""Retries that were put off, until they fall due. They are work, and the broker's count of what is published leaves them out."""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil

# Deliveries that fall due within this number of seconds are counted apart: replicas that are asked for now are ready about then.
SOON_SECONDS = 10


class Returning:
    """Of one queue, as far as one process has put them off. Times are steady seconds. They are kept by the second, so that a
    million retries take no more memory than the seconds over which they are spread."""

    def __init__(self) -> None:
        self._by_second: dict[int, int] = {}
        self._seconds: list[int] = []
        self._returned = 0

    def put_off(self, due: float) -> None:
        second = ceil(due)
        if second not in self._by_second:
            self._by_second[second] = 0
            heappush(self._seconds, second)
        self._by_second[second] += 1

    def returned(self, now: float) -> int:
        """How many have ever fallen due."""
        while self._seconds and self._seconds[0] <= now:
            self._returned += self._by_second.pop(heappop(self._seconds))
        return self._returned

    def soon(self, now: float) -> int:
        """How many fall due within the next SOON_SECONDS."""
        first = int(now) + 1
        return sum(self._by_second.get(second, 0) for second in range(first, first + SOON_SECONDS))
