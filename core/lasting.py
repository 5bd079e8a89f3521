"""How long what runs may still last, by what jobs of its type have taken: a consumer that may go within its drain is one in which
nothing lasts longer."""

from __future__ import annotations

from dataclasses import dataclass

# The retransmission timer's estimate of how long something may take (RFC 6298, 2.3): the mean and four mean deviations, followed
# with these weights.
_MEAN_WEIGHT, _DEVIATION_WEIGHT, _DEVIATIONS = 1 / 8, 1 / 4, 4.0
# The longest counts too, and is forgotten by a hundredth with each job: one in a hundred may take much longer than the others.
_FORGOTTEN = 0.99
# Fewer jobs of a type say too little of the next one.
_LEAST_JOBS = 5


@dataclass(slots=True)
class _Type:
    """Of one job type. mean, deviation, longest: seconds; ended: jobs that they are of."""

    mean: float = 0.0
    deviation: float = 0.0
    longest: float = 0.0
    ended: int = 0

    def end(self, took: float) -> None:
        self.ended += 1
        self.longest = max(took, self.longest * _FORGOTTEN)
        if self.ended == 1:
            self.mean, self.deviation = took, took / 2
            return
        self.deviation += _DEVIATION_WEIGHT * (abs(took - self.mean) - self.deviation)
        self.mean += _MEAN_WEIGHT * (took - self.mean)

    def left(self, age: float, limit: float) -> float:
        """Seconds that a run of this age may go on. Until enough is known of its like, up to its time limit; a run that is older
        than its like is thought to be halfway through."""
        if age > limit:  # a plain function cannot be broken off
            return age
        if self.ended < _LEAST_JOBS:
            return limit - age
        usual = max(self.mean + _DEVIATIONS * self.deviation, self.longest)
        return min(limit - age, usual - age if age < usual else age)


class Lasting:
    """Of one queue's runs. Times are steady seconds; a run is known by any object of its own."""

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}
        self._running: dict[object, tuple[float, str, float]] = {}

    def begin(self, run: object, now: float, job_type: str, limit: float) -> None:
        """limit: seconds, the contract's."""
        self._running[run] = (now, job_type, limit)

    def end(self, run: object, now: float, *, well: bool = True) -> None:
        """well: it succeeded. Jobs that fail at once, for want of a server, teach nothing of how long they take."""
        began, job_type, _ = self._running.pop(run)
        if well:
            self._types.setdefault(job_type, _Type()).end(now - began)

    def seconds(self, now: float) -> float:
        """Until all that runs is expected to have ended; 0 where nothing runs."""
        new = _Type()
        running = self._running.values()
        return max((self._types.get(of, new).left(now - began, limit) for began, of, limit in running), default=0.0)
