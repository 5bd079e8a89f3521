"""The figures learned from one observation to the next: rates of counters, a replica's speed, how long one takes to start.

Each is a frozen record and a function that gives the next one. Times are monotonic seconds.
"""

from __future__ import annotations

from math import exp, inf, sqrt
from typing import NamedTuple

from autoscaler.model import UNKNOWN, Figure, Seen, Unknown

# A rate follows its counter with this time constant, unless it is given. Shorter follows noise; longer is late on a ramp, where
# the backlog, which is always fresh, makes up for it.
RATE_SECONDS = 3.0
# Of long jobs it is longer, a job's time, and of rare ones, so that it is the mean of some 50: an exponential mean of n
# events has a relative deviation of 1 / sqrt(2 n), which is then the policy's tolerance, 0.1. And at most this.
RATE_AT_MOST = 60.0
RATE_EVENTS = 50.0
# But a reading this number of deviations (of a Poisson count) above the rate is a surge, which is followed at once.
SURGE_DEVIATIONS = 4.0
# A counter that falls and comes back within this number of seconds was misreported in between, and did not restart from 0.
DIP_SECONDS = 60.0
# Two readings that are closer tell nothing: 36 jobs within 1 ms are no 36,000/s.
LEAST_SECONDS = 0.2
# The slope of a rate is noisier than the rate: it is followed more slowly, and a forecast goes no further than to the double.
TREND_SECONDS = 20.0
MOST_GROWTH = 2.0
# A replica's speed is the mean of about the last minute in which jobs ran, with the policy's guess counting as this many jobs.
SERVICE_SECONDS = 60.0
PRIOR_JOBS = 20.0
# And for less, once jobs have taken ten times as long as PRIOR_JOBS would: three jobs of ten minutes are not three among twenty
# of 100 ms.
PRIOR_HOLDS = 10.0
# A learned job time is at least this part of the policy's guess, and at most a day, whatever a counter gone mad says.
MOST_OFF = 100.0
LONGEST_JOB = 86_400.0
STARTUP_WEIGHT = 0.3
# A start-up time is at most this multiple of the policy's. A start that takes longer than that and than two minutes is an
# outage (no image, no node), and teaches nothing.
MOST_STARTUP, OUTAGE_SECONDS = 10.0, 120.0


class Rate(NamedTuple):
    """The rate of a counter. level: per second. trend: per second, per second. known: two readings have been seen.

    fell_from, fell_at: the reading before the last fall. fallen: the last reading was that fall.
    """

    total: float = 0.0
    at: float = -inf
    level: float = 0.0
    trend: float = 0.0
    known: bool = False
    fell_from: float = inf
    fell_at: float = -inf
    fallen: bool = False

    def next(self, seen: Seen, *, follow: float = RATE_SECONDS, events: float = 0.0, noisy: bool = False) -> Rate:
        """With a new reading. The same reading again, or none, changes nothing; a counter that went back has restarted.

        But one that soon jumps to where it was, or beyond, has not: a server whose statistics were incomplete for a while has
        reported less. And what it rose to before it fell may have been nonsense: a lower rate after the fall is believed at once.

        follow: the time constant, in seconds. events: it is at least the time of that number of them, up to a minute, while chance
        explains the reading.
        noisy: a sum of figures of different ages, which goes back without a restart. It gains as much again soon after a
        loss, so that both have to count: else a queue in which nothing arrives would seem to have arrivals.
        """
        if seen is UNKNOWN or seen.at < self.at + LEAST_SECONDS:
            return self
        delta, passed = seen.value - self.total, seen.at - self.at
        if self.at == -inf:
            return self._replace(total=seen.value, at=seen.at)
        if delta < 0 and not noisy:
            return self._replace(total=seen.value, at=seen.at, fell_from=self.total, fell_at=self.at, fallen=True)
        usual = self.level * passed
        if seen.value >= self.fell_from and _surge(delta, usual * MOST_GROWTH) and seen.at - self.fell_at < DIP_SECONDS:
            before = self._replace(total=self.fell_from, at=self.fell_at, fell_from=inf, fallen=False)
            return before.next(seen, follow=follow, events=events)
        sample = delta / passed
        if not self.known or (self.fallen and sample * MOST_GROWTH < self.level):
            return self._replace(total=seen.value, at=seen.at, level=sample, trend=0.0, known=True, fallen=False)
        if events and not _surge(delta, usual):
            follow = max(follow, min(events / self.level, RATE_AT_MOST) if self.level > 0 else RATE_AT_MOST)
        level = self.level + (1.0 - exp(-passed / follow)) * (sample - self.level)
        slope = (level - self.level) / passed
        trend = self.trend + (1.0 - exp(-passed / TREND_SECONDS)) * (slope - self.trend)
        return self._replace(total=seen.value, at=seen.at, level=level, trend=trend, fallen=False)

    def forecast(self, lead: float) -> float:
        """The rate in `lead` seconds: never below today's, since what falls may rise again before fewer could take it."""
        return max(0.0, self.level, min(self.level + self.trend * lead, self.level * MOST_GROWTH))

    def counted_since(self, before: Rate) -> bool:
        """Whether something was counted since `before`."""
        return self.total > before.total and before.at != -inf


def _surge(counted: float, usual: float) -> bool:
    """Whether `counted` is more than chance explains where `usual` are expected."""
    return counted > usual + SURGE_DEVIATIONS * sqrt(max(usual, 1.0))


class Service(NamedTuple):
    """How long a job takes in its handler. jobs, seconds: of about the last busy minute, decayed; of three jobs' time where they
    take longer. open: seconds that running jobs have spent since one ended last.
    """

    completed: Figure | None = None
    busy: Figure | None = None
    jobs: float = 0.0
    seconds: float = 0.0
    open: float = 0.0

    def next(self, completed: Seen, busy: Seen) -> Service:
        """With new readings of completions and of seconds spent in handlers, which count what runs."""
        if completed is UNKNOWN or busy is UNKNOWN:
            return self
        if self.completed is None or self.busy is None:
            return self._replace(completed=completed, busy=busy)
        jobs, seconds = completed.value - self.completed.value, busy.value - self.busy.value
        passed = completed.at - self.completed.at
        if passed <= 0 or busy.at <= self.busy.at:
            return self
        if jobs < 0 or seconds < 0:  # a counter restarted: nothing learned or forgotten
            return self._replace(completed=completed, busy=busy, open=0.0)
        if jobs == 0:  # what runs is `open`, or nothing ran; its time counts once both are there
            return self._replace(open=seconds)
        if seconds == 0:  # their time comes later
            return self
        keep = exp(-passed / max(SERVICE_SECONDS, 3.0 * self.seconds / self.jobs if self.jobs else 0.0))
        return Service(completed, busy, self.jobs * keep + jobs, self.seconds * keep + seconds)

    def mean(self, prior: float, running: float | Unknown = UNKNOWN) -> float:
        """Seconds a job. prior: what the policy says, in seconds. running: jobs in handlers.

        Where none has ended for longer than that, it is what those that run have taken already: jobs of half an hour teach from
        their first seconds on, not after the first of them.
        """
        weight = PRIOR_JOBS * min(1.0, PRIOR_HOLDS * PRIOR_JOBS * prior / self.seconds) if self.seconds else PRIOR_JOBS
        mean = max((self.seconds + weight * prior) / (self.jobs + weight), prior / MOST_OFF)
        if running is not UNKNOWN and running > 0:
            mean = max(mean, self.open / running)
        return min(mean, LONGEST_JOB)


class Startup(NamedTuple):
    """How long a replica takes from being asked for to being ready. seconds: 0 is not learned yet.

    asked, ready: of the last look; -1 before the first, which tells nothing of when they were asked for. target: what is being
    waited for, 0 for nothing; since: when it was asked for.
    """

    seconds: float = 0.0
    asked: int = -1
    ready: float = 0.0
    target: int = 0
    since: float = 0.0

    def next(self, asked: int, ready: Seen, now: float, prior: float, *, stuck: bool = False) -> Startup:
        """With what is asked and what is ready now. prior: what the policy says, in seconds. stuck: there is no place for them."""
        if ready is UNKNOWN:
            return self
        start = self._replace(asked=asked, ready=ready.value)
        most = prior * MOST_STARTUP
        outage = stuck or (self.target and now - self.since > max(most, OUTAGE_SECONDS))
        if outage or asked < self.target or ready.value < self.ready:  # given up, or lost again: that is not a start
            return start._replace(target=0)
        if not self.target:
            grows = 0 <= self.asked < asked
            return start._replace(target=asked, since=now) if grows and asked > ready.value else start
        if ready.value < self.target:
            return start
        took = min(now - self.since, most)
        seconds = took if not self.seconds else self.seconds + STARTUP_WEIGHT * (took - self.seconds)
        return start._replace(seconds=seconds, target=0)

    def expected(self, prior: float) -> float:
        """Seconds; at most ten times what the policy says, since a pod that never starts teaches nothing."""
        return min(self.seconds, prior * MOST_STARTUP) if self.seconds else prior


Peaks = tuple[tuple[float, int], ...]


def peak_of(peaks: Peaks, wanted: int, now: float, window: float) -> tuple[int, Peaks]:
    """The most that was wanted within the last `window` seconds, now included, and the record to keep.

    The record holds only what can still be the most: times rise, values fall.
    """
    kept = [(at, value) for at, value in peaks if at > now - window and value > wanted]
    kept.append((now, wanted))
    return kept[0][1], tuple(kept)
