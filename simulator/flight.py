"""Jobs in handlers, counted by the step in which they end."""

from __future__ import annotations

from bisect import bisect_right

from simulator.world import Lags


class Flight:
    """Jobs that replicas run. jobs: how many."""

    def __init__(self, lags: Lags) -> None:
        self.jobs = 0
        self._lags = lags
        self._due: dict[int, int] = {}  # step: jobs that end in it
        self._held = 0  # jobs that would have ended, but downstream takes no more

    def start(self, step: int, count: int, phase: float) -> None:
        """`count` jobs begin. phase: from 0 to below 1, at random, so that the lags have their weights also where jobs are few."""
        self.jobs += count
        due, lags = self._due, self._lags
        if count < len(lags.steps):
            for job in range(count):  # systematic sampling: one job in each count-th part of the distribution
                at = step + lags.steps[bisect_right(lags.cumulative, (job + phase) / count)]
                due[at] = due.get(at, 0) + 1
            return
        given = 0
        for lag, cumulative in zip(lags.steps, lags.cumulative, strict=True):  # the same, a lag at a time
            upto = int(count * cumulative + phase)
            if upto > given:
                due[step + lag] = due.get(step + lag, 0) + upto - given
                given = upto

    def finish(self, step: int, budget: float) -> int:
        """The jobs that end in this step; at most `budget`, the rest is held."""
        ending = self._due.pop(step, 0) + self._held
        done = ending if ending <= budget else int(budget)
        self._held = ending - done
        self.jobs -= done
        return done

    def split(self, part: float) -> Flight:
        """Take this part of the jobs out, evenly over when they end: what some of the replicas hold."""
        away = Flight(self._lags)
        before, given = self._held, int(self._held * part + 0.5)
        away._held = given
        for step in sorted(self._due):
            before += self._due[step]
            upto = int(before * part + 0.5)
            if upto > given:
                away._due[step] = upto - given
                self._due[step] -= upto - given
                given = upto
        self._held -= away._held
        away.jobs = given
        self.jobs -= given
        return away
