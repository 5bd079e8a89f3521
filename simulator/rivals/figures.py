"""The figures that the rivals read of an observation, and when they read them. Jobs, jobs/s, seconds; UNKNOWN stays UNKNOWN."""

from __future__ import annotations

from collections import deque
from typing import Final

from autoscaler.model import UNKNOWN, Figure, Observation, Seen, Unknown

SLACK: Final = 1e-6  # seconds: sums of periods such as 0.1 miss whole seconds by less


def value(seen: Seen) -> float | Unknown:
    """The figure without its age. None of the rivals looks at the age of its input."""
    return UNKNOWN if isinstance(seen, Unknown) else seen.value


def backlog(seen: Observation) -> float | Unknown:
    """Ready and unacknowledged jobs: what RabbitMQ's management API calls `messages`. Unknown where either is."""
    ready, unacked = value(seen.ready_jobs), value(seen.unacked)
    return UNKNOWN if isinstance(ready, Unknown) or isinstance(unacked, Unknown) else ready + unacked


class Due:
    """A loop of its own inside a scaler that is asked more often: true once in each `period` seconds, the first time at once."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._next: float | None = None

    def at(self, now: float) -> bool:
        """Whether it is time, and if so, the next time is set."""
        if self._next is not None and now < self._next - SLACK:
            return False
        self._next = (now if self._next is None else self._next) + self._period
        if self._next <= now:  # asked late: one turn, as a ticker drops those that were not taken
            self._next = now + self._period
        return True


class CounterRate:
    """A cumulative counter's change a second, over at least the last `window` seconds.

    0 until there are two samples, as RabbitMQ's own `publish_details.rate` is; a counter that went back begins again.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: deque[Figure] = deque()

    def see(self, seen: Seen) -> float | Unknown:
        """Takes the figure in and tells the rate; unknown while the figure is."""
        if isinstance(seen, Unknown):
            return UNKNOWN
        self._take(seen)
        first, last = self._samples[0], self._samples[-1]
        return (last.value - first.value) / (last.at - first.at) if last.at > first.at else 0.0

    def _take(self, figure: Figure) -> None:
        samples = self._samples
        if samples and figure.value < samples[-1].value:
            samples.clear()
        if not samples or figure.at > samples[-1].at:
            samples.append(figure)
        while len(samples) > 1 and samples[-1].at - samples[1].at >= self._window - SLACK:
            samples.popleft()
