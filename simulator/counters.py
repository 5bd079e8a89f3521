"""Events and their times, from samples of counters: resets, replicas that come and go, and stretches without a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

Samples = Sequence[tuple[float, float]]  # seconds, value; rising in time

_GAP: Final = 4.0  # scrapes: a pause that is longer is a gap
_LEAST_GAP: Final = 60.0  # seconds: a shorter pause is no gap


class Growth(NamedTuple):
    """By how much a counter grew after `since` and until `until` (seconds)."""

    since: float
    until: float
    by: float


def scrape_interval(series: Iterable[Samples]) -> float:
    """Seconds between two samples, usually; 0 where no series has two."""
    pauses = [after - before for samples in series for (before, _), (after, _) in pairwise(samples)]
    return median(pauses) if pauses else 0.0


def longest_pause(interval: float) -> float:
    """A pause (seconds) that is no gap yet."""
    return max(_GAP * interval, _LEAST_GAP)


def grown(samples: Samples, interval: float, begin: float) -> list[Growth]:
    """How one counter grew. begin: the range begins here (seconds).

    A value below the one before is a new process: it began at 0, and so did a series whose first sample is within the range; both
    have grown within the last scrape. Over a pause the growth is known and its course is not: it is even.
    """
    found: list[Growth] = []
    if samples and samples[0][0] - begin > longest_pause(interval):
        found.append(Growth(samples[0][0] - interval, samples[0][0], samples[0][1]))
    for (before, was), (after, value) in pairwise(samples):
        if value >= was:
            found.append(Growth(before, after, value - was))
        else:
            found.append(Growth(max(before, after - interval), after, value))
    return [growth for growth in found if growth.by > 0]


def gaps(series: Iterable[Samples], begin: float, end: float, interval: float) -> list[tuple[float, float]]:
    """Stretches of the range in which no series has a sample."""
    times = sorted({at for samples in series for at, _ in samples})
    return [(one, two) for one, two in pairwise([begin, *times, end]) if two - one > longest_pause(interval)]


def by_minute(growths: Iterable[Growth]) -> dict[int, float]:
    """Growth in each minute in which it was seen."""
    minutes: dict[int, float] = {}
    for growth in growths:
        minute = int(growth.until // 60)
        minutes[minute] = minutes.get(minute, 0.0) + growth.by
    return minutes


def spread_over(growths: Iterable[Growth], begin: float, end: float, earlier: Mapping[int, float]) -> list[float]:
    """Growth in each second of the range, each even over its time; earlier by the number of seconds given for its minute."""
    seconds = [0.0] * max(0, int(end - begin))
    for growth in growths:
        shift = begin + earlier.get(int(growth.until // 60), 0.0)
        since, until = growth.since - shift, growth.until - shift
        length = max(until - since, 1e-3)
        for second in range(max(0, int(since)), min(len(seconds), int(until) + 1)):
            part = min(until, second + 1) - max(since, second)
            if part > 0:
                seconds[second] += growth.by * part / length
    return seconds
