"""Service times from a histogram: how many jobs ended within each bound, and the mean of them all."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from typing import Final

_BELOW: Final = 0.1  # the least time within the first bucket, in parts of its bound
_ABOVE: Final = 4.0  # the greatest above the last bound, in parts of it
_POINTS: Final = 64  # of a bucket, for its mean


@dataclass(frozen=True)
class Buckets:
    """A law for `Sizes`: a bucket by its share of the jobs, then in it lower * (upper/lower)^(u^bend), u even from 0 to 1.

    bend = 1 is even on a logarithmic scale. It is chosen, one for all buckets, so that the mean is the histogram's own, sum over
    count: jobs of just 0.1 s in the bucket from 0.025 to 0.1 s have a bend near 0. The first bucket begins at a tenth of its bound;
    the part above the last bound reaches four times that. edges: one more than counts, rising (seconds); counts: jobs in each.
    """

    kind: str
    edges: Sequence[float]
    counts: Sequence[float]
    bend: float
    mean: float
    deviation: float
    _upto: Sequence[float] = field(repr=False)

    def draw(self, rng: Random) -> float:
        at = min(bisect_left(self._upto, rng.random() * self._upto[-1]), len(self.counts) - 1)
        return _within(self.edges[at], self.edges[at + 1], rng.random(), self.bend)


def from_histogram(kind: str, cumulative: Mapping[float, float], mean: float) -> Buckets | None:
    """cumulative: jobs that took at most this number of seconds (inf is all). None where it has no job, or a useless mean."""
    bounds = sorted(cumulative)
    counts = [max(0.0, after - before) for before, after in pairwise([0.0, *(cumulative[bound] for bound in bounds)])]
    finite = [bound for bound in bounds if bound < math.inf]
    if not finite or sum(counts) <= 0 or not 0 < mean < math.inf:
        return None
    edges = [finite[0] * _BELOW, *finite, *([finite[-1] * _ABOVE] if len(bounds) > len(finite) else [])]
    bend = _bend(edges, counts, mean)
    first, second = (_moment(edges, counts, bend, power) for power in (1, 2))
    return Buckets(kind, edges, counts, bend, first, math.sqrt(max(0.0, second - first**2)), list(accumulate(counts)))


def _within(lower: float, upper: float, even: float, bend: float) -> float:
    return float(lower * (upper / lower) ** (even**bend))


def _bend(edges: Sequence[float], counts: Sequence[float], mean: float) -> float:
    """By bisection on a logarithmic scale: the greater the bend, the less the mean. At its ends the mean is as near as can be."""
    low, high = 1e-3, 1e3
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _moment(edges, counts, middle, 1) > mean else (low, middle)
    return middle


def _moment(edges: Sequence[float], counts: Sequence[float], bend: float, power: int) -> float:
    total = 0.0
    for count, (lower, upper) in zip(counts, pairwise(edges), strict=True):
        if count:
            within = (_within(lower, upper, (point + 0.5) / _POINTS, bend) for point in range(_POINTS))
            total += count * sum(seconds**power for seconds in within) / _POINTS
    return total / sum(counts)
