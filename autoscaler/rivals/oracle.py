"""A scaler that sees the future: what is the least that a load costs, if no job is to wait longer than the objective.

What it bounds. `least_pod_seconds` is below what any policy can do: the work itself, at each replica's full rate, with no start-up
and no idle second. The plan that `ask` follows is what can be had with start-ups: every replica is asked for the longest start-up
before it is needed, and kept where it is needed again sooner than a new one would start. It meets the objective, and is near the
bound where the load is steady; it is the cheapest of a few plans, not proven the cheapest of all.

What it does not bound. Work is a fluid, a replica does up to `rate` jobs in each second, and none is lost by shrinking: scale
actions and jobs returned count for nothing, and it scales often. Where `maximum` cannot keep up, or a load comes in the first
start-up of the run, jobs are late and it does what it can. Waits are counted to the whole second, to the safe side: a job of
second s is done by the end of second s + objective - 1, so that none waits longer than the objective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from autoscaler.model import Observation

FUZZ: Final = 1e-9  # of a replica: sums of floats are not whole
LOOKAHEADS: Final = (0, 1, 2, 4, 8)  # times the start-up: over how much of the future a plan levels its fleet


class Oracle:
    """arrivals: jobs in each second. rate: jobs/s of a replica. startup: seconds, the longest. objective: seconds of waiting."""

    def __init__(
        self,
        arrivals: Sequence[float],
        *,
        rate: float,
        startup: float,
        objective: float,
        maximum: int,
        minimum: int = 0,
        name: str = "oracle",
    ) -> None:
        self.name = name
        self.interval = 1.0
        self.least_pod_seconds = math.fsum(arrivals) / rate
        lead = math.ceil(startup)
        arrived = list(accumulate(arrivals))
        due = due_by(arrived, max(0, math.floor(objective) - 1), maximum * rate)
        plans = (level(arrived, due, rate, maximum, lead * ahead) for ahead in sorted(set(LOOKAHEADS)))
        self._asks = min((ahead_of(plan, lead, minimum) for plan in plans), key=sum)
        self._minimum = minimum

    def ask(self, seen: Observation, now: float) -> int:  # noqa: ARG002  # it knows what will come
        """What will be needed from now on until a replica that is asked for a second later would be ready."""
        second = math.floor(now + FUZZ)
        return self._asks[second] if second < len(self._asks) else self._minimum


def due_by(arrived: Sequence[float], lag: int, capacity: float) -> list[float]:
    """Jobs (cumulative) that have to be done by the end of each second, and `lag` seconds after the last.

    arrived: cumulative jobs. What is due at once but is more than `capacity` (jobs/s of the whole fleet) is due so much sooner, yet
    not before it is there.
    """
    due = [0.0] * lag + list(arrived)
    for second in range(len(due) - 2, -1, -1):
        there = arrived[min(second, len(arrived) - 1)]
        due[second] = max(due[second], min(there, due[second + 1] - capacity))
    return due


def level(arrived: Sequence[float], due: Sequence[float], rate: float, maximum: int, ahead: int) -> list[int]:
    """Replicas in each second: the fewest that, kept for the next `ahead` seconds, do in time all that is due in them.

    Never more than what has come by then keeps busy.
    """
    plan: list[int] = []
    done, end = 0.0, len(due)
    for second in range(end):
        last, there = min(second + ahead + 1, end), arrived[min(second, len(arrived) - 1)]
        need = max((due[by] - done) / (by - second + 1) for by in range(second, last))
        replicas = min(maximum, max(0, math.ceil(min(need, there - done) / rate - FUZZ)))
        plan.append(replicas)
        done = min(there, done + replicas * rate)
    return plan


def ahead_of(plan: Sequence[int], lead: int, minimum: int) -> list[int]:
    """What to ask for in each second: the most that is needed within the next `lead` seconds."""
    return [max(minimum, *plan[second : second + lead + 1]) for second in range(len(plan))]
