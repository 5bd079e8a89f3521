"""Whether replicas that were asked for become ready, and those that were ready stay so."""

from __future__ import annotations

from math import ceil, inf
from typing import NamedTuple

from autoscaler.model import UNKNOWN, Policy, Seen

# Requested replicas are ready within this number of start-up times, or they do not come.
STARTS = 3.0
# And at least this number of seconds is waited: further replicas that do not come bring nothing.
_LEAST_SECONDS = 30.0
# A first start, with an image to be pulled, takes longer than anybody guessed, and is not reported for this number of seconds.
TOLD_AFTER = 120.0


class Starting(NamedTuple):
    """since: some are missing, and none has become ready since then; None where all are ready. lost: some of them were ready.

    asked, ready: of the last look; -1 before the first.
    """

    since: float | None = None
    lost: bool = False
    asked: int = -1
    ready: float = -1.0

    def next(self, asked: int, ready: Seen, now: float) -> Starting:
        """With what is asked and what is ready now."""
        if ready is UNKNOWN:
            return self
        if ready.value >= asked:
            return Starting(None, False, asked, ready.value)
        lost = self.lost or (ready.value < self.ready and asked >= self.asked)
        since = now if self.since is None or ready.value > self.ready else self.since
        return Starting(since, lost, asked, ready.value)

    def missing_for(self, now: float) -> float:
        """Seconds for which none of those that are missing has become ready."""
        return 0.0 if self.since is None else now - self.since

    def told(self, startup: float, now: float) -> bool:
        """Whether an operator should know. startup: seconds that one is expected to take."""
        return self.missing_for(now) > max(STARTS * startup, TOLD_AFTER)

    def most(self, policy: Policy, startup: float, now: float) -> float:
        """Replicas that may be asked for: the ready ones and a step, while those that are missing do not come."""
        if self.since is None or not (self.lost or self.missing_for(now) > max(STARTS * startup, _LEAST_SECONDS)):
            return inf
        return max(self.asked, self.ready + max(1, ceil(self.ready * policy.threshold_step)))
