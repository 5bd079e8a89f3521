"""Arrivals: a sequence with the jobs of each second. From a recorded trace, or from a generator. `rate` is jobs/s throughout."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from random import Random

from core.errors import SettingsError

_DAY = 86_400
_COLUMNS = 2  # of either shape of a trace


def parse_trace(text: str) -> list[float]:
    """The jobs of each second, from a CSV of one of two shapes. Raises SettingsError that names the line.

    `second,arrivals`: the jobs of each second; a second that is not there had none.
    `timestamp,value`: the jobs of each stretch, of equal length, that begins at the timestamp; spread evenly over its seconds.
    """
    head, *rows = [*csv.reader(text.splitlines())] or [[]]
    shape = tuple(head)
    lines = [(line, row) for line, row in enumerate(rows, 2) if row]
    if shape == ("second", "arrivals"):
        return _by_second([(_number(row, 0, line), _number(row, 1, line)) for line, row in lines])
    if shape == ("timestamp", "value"):
        return _by_stretch([(_moment(row, line), _number(row, 1, line)) for line, row in lines])
    raise SettingsError(f"trace: the first line is {','.join(shape)!r}; it must be 'second,arrivals' or 'timestamp,value'")


def _by_second(rows: Sequence[tuple[float, float]]) -> list[float]:
    arrivals = [0.0] * (int(max((second for second, _ in rows), default=-1)) + 1)
    for second, count in rows:
        arrivals[int(second)] += count
    return arrivals


def _by_stretch(rows: Sequence[tuple[float, float]]) -> list[float]:
    """A gap between two timestamps is played as none: the stretch is what lies between most neighbours."""
    gaps = [after - before for (before, _), (after, _) in pairwise(rows)]
    stretch = int(sorted(gaps)[len(gaps) // 2]) if gaps else 1
    if stretch < 1:
        raise SettingsError("trace: the timestamps must rise, by a second at least")
    return [count / stretch for _, count in rows for _ in range(stretch)]


def _number(row: Sequence[str], column: int, line: int) -> float:
    if len(row) > _COLUMNS:
        raise SettingsError(f"trace: line {line}: {','.join(row)!r} has {len(row)} columns, and the first line {_COLUMNS}")
    try:
        value = float(row[column])
    except (IndexError, ValueError):
        raise SettingsError(f"trace: line {line}: {','.join(row)!r} has no number in column {column + 1}") from None
    if not 0 <= value < 1e9:  # also what is not a number
        raise SettingsError(f"trace: line {line}: {value:g} must be from 0 to 1e9")
    return value


def _moment(row: Sequence[str], line: int) -> float:
    """Unix seconds, taken as UTC: only differences count."""
    try:
        return datetime.fromisoformat(row[0] + "+00:00").timestamp()
    except (IndexError, ValueError):
        raise SettingsError(f"trace: line {line}: {','.join(row)!r} has no timestamp such as 2014-04-10 00:04:00") from None


def peak_rate(arrivals: Sequence[float], window: int = 5) -> float:
    """The highest mean of `window` seconds in a row (jobs/s): a queue that may hold jobs for `window` seconds has to serve it."""
    window = max(1, min(window, len(arrivals)))
    total = highest = sum(arrivals[:window])
    for out, new in zip(arrivals, arrivals[window:], strict=False):
        total += new - out
        highest = max(highest, total)
    return highest / window


def scaled_to(arrivals: Sequence[float], rate: float, window: int = 5) -> list[float]:
    """The same, scaled so that its peak is `rate` (jobs/s): with replicas times the speed of one, the peak needs them all."""
    factor = rate / (peak_rate(arrivals, window) or 1.0)
    return [count * factor for count in arrivals]


def compressed(arrivals: Sequence[float], times: int) -> list[float]:
    """The same course in a `times`-th of the time, at the same rates: a week as a day. A rest at the end is left out."""
    return [sum(arrivals[at : at + times]) / times for at in range(0, len(arrivals) - times + 1, times)]


def spread(arrivals: Sequence[float], steps_per_second: int) -> Iterator[int]:
    """Whole jobs for each step: each second's are spread evenly, what is less than a job waits for the next."""
    whole = 0
    total = 0.0
    for count in arrivals:
        for part in range(1, steps_per_second + 1):
            upto = int(total + count * part / steps_per_second + 1e-6)  # sums of fractions fall short of what they stand for
            yield upto - whole
            whole = upto
        total += count


def step(seconds: int, before: float, after: float, at: int) -> list[float]:
    """The rate `before`, and from second `at` on `after`."""
    return [before if second < at else after for second in range(seconds)]


def ramp(seconds: int, first: float, last: float) -> list[float]:
    """A rate that changes evenly."""
    return [first + (last - first) * second / max(1, seconds - 1) for second in range(seconds)]


def spike(seconds: int, base: float, peak: float, at: int, width: int) -> list[float]:
    """The rate `base`, and `peak` for `width` seconds from `at`."""
    return [peak if at <= second < at + width else base for second in range(seconds)]


def on_off(seconds: int, rate: float, on: int, off: int) -> list[float]:
    """`rate` for `on` seconds, nothing for `off` seconds, again and again."""
    return [rate if second % (on + off) < on else 0.0 for second in range(seconds)]


def silent_then_burst(seconds: int, silent: int, jobs: float, over: int) -> list[float]:
    """Nothing for `silent` seconds, then `jobs` within `over` seconds, then nothing."""
    return [jobs / over if silent <= second < silent + over else 0.0 for second in range(seconds)]


def diurnal(total: float, peak: float, base: float, peak_hour: float = 14.0) -> list[float]:
    """A day of `total` jobs with the rate `peak` at `peak_hour` and `base` half a day off. Raises SettingsError where none is.

    The rate is base + (peak - base) * ((1 + cos)/2)^k; k, by bisection, makes it `total`: the more of it, the narrower the day.
    """
    mean = (total / _DAY - base) / (peak - base) if peak > base else 0.0
    if not 0.05 < mean < 0.95:
        raise SettingsError(
            f"diurnal: a day of {total:g} jobs does not go from {base:g}/s to {peak:g}/s: its mean is {total / _DAY:g}/s"
        )
    wave = [(1 + math.cos((second / _DAY - peak_hour / 24) * math.tau)) / 2 for second in range(_DAY)]
    low, high = 0.01, 200.0
    for _ in range(40):  # halvings: to 200/2^40
        power = (low + high) / 2
        low, high = (power, high) if sum(height**power for height in wave[::60]) / (_DAY / 60) > mean else (low, power)
    return [base + (peak - base) * height**power for height in wave]


def poisson(rates: Sequence[float], rng: Random) -> list[float]:
    """Whole jobs at random, by Poisson's law around each second's rate; above 500 by the normal one, which then is near."""
    return [float(_poisson(rate, rng)) for rate in rates]


def _poisson(rate: float, rng: Random) -> int:
    if rate > 500:
        return max(0, round(rng.gauss(rate, math.sqrt(rate))))
    count, product, least = 0, rng.random(), math.exp(-rate)  # Knuth, The Art of Computer Programming, 3.4.1
    while product > least:
        count += 1
        product *= rng.random()
    return count
