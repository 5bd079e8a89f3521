"""The queue, first in first out, and how long jobs waited in it. Jobs are no objects: a cohort is what arrived in one step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

_LATELY: Final = 10.0  # seconds over which the waits "of late" are taken


class Waits:
    """The number of jobs by the steps that they waited before they began: over the whole run, and of late."""

    def __init__(self, dt: float) -> None:
        self.of_run: dict[int, int] = {}
        self._dt = dt
        self._window = round(_LATELY / dt)
        self._late: deque[tuple[int, int, int]] = deque()  # step, waited, jobs

    def add(self, step: int, waited: int, count: int) -> None:
        self.of_run[waited] = self.of_run.get(waited, 0) + count
        self._late.append((step, waited, count))

    def lately(self, step: int) -> tuple[float, float] | None:
        """Mean and 95th percentile (seconds) of the jobs that began in the last 10 s, or None when none did."""
        late = self._late
        while late and late[0][0] < step - self._window:
            late.popleft()
        if not late:
            return None
        counts: dict[int, int] = {}
        for _, waited, count in late:
            counts[waited] = counts.get(waited, 0) + count
        mean = sum(waited * count for waited, count in counts.items()) / sum(counts.values())
        return mean * self._dt, percentile(counts, 0.95) * self._dt


def percentile(counts: Mapping[int, int], part: float) -> int:
    """The least value that at least this part of all counts does not exceed (nearest rank); 0 where nothing was counted."""
    wanted, seen, value = part * sum(counts.values()), 0, 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            break
    return value


class Queue:
    """Cohorts of waiting jobs, the oldest first."""

    def __init__(self, waits: Waits) -> None:
        self.jobs = 0
        self._cohorts: deque[list[int]] = deque()  # step of arrival, jobs
        self._waits = waits

    def put(self, step: int, count: int) -> None:
        self.jobs += count
        self._cohorts.append([step, count])

    def put_back(self, step: int, count: int) -> None:
        """Jobs that a replica did not finish, at the front. They wait again: as old as the oldest that waits, or just come."""
        if count:
            self.jobs += count
            self._cohorts.appendleft([self._cohorts[0][0] if self._cohorts else step, count])

    def take(self, step: int, count: int) -> None:
        """`count` jobs begin, and no more than wait."""
        self.jobs -= count
        while count:
            arrived, size = self._cohorts[0]
            if size > count:
                self._cohorts[0][1] = size - count
                size = count
            else:
                self._cohorts.popleft()
            self._waits.add(step, step - arrived, size)
            count -= size

    def oldest(self, step: int) -> int:
        """Steps that the oldest job has waited; 0 when none waits."""
        return step - self._cohorts[0][0] if self._cohorts else 0

    def still_waiting(self, step: int) -> Mapping[int, int]:
        """The number of jobs still waiting, by the steps that they have waited."""
        counts: dict[int, int] = {}
        for arrived, size in self._cohorts:
            counts[step - arrived] = counts.get(step - arrived, 0) + size
        return counts
