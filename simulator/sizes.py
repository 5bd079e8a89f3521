"""How long jobs take: a law to draw from, or what was recorded. Seconds throughout."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, Protocol

from core.errors import SettingsError
from simulator.discrete import Job

_LAST: Final = 1 - 1e-6  # of a second: what arrives at its end is still its own
_OFF: Final = 0.01 + 1e-9  # of all jobs: thirds that are written as 0.33 sum to 0.99
LIMIT: Final = 86_400.0  # seconds: the longest time limit that a contract may have, where none is given


class Law(Protocol):
    """Of one job type, named by `kind`. mean, deviation: seconds."""

    @property
    def kind(self) -> str: ...
    @property
    def mean(self) -> float: ...
    @property
    def deviation(self) -> float: ...

    def draw(self, rng: Random) -> float:
        """Seconds of one job."""


@dataclass(frozen=True, slots=True)
class Constant:
    kind: str
    mean: float
    deviation: float = 0.0

    def draw(self, rng: Random) -> float:  # noqa: ARG002 - they are all alike
        return self.mean


@dataclass(frozen=True, slots=True)
class Exponential:
    kind: str
    mean: float

    @property
    def deviation(self) -> float:
        return self.mean

    def draw(self, rng: Random) -> float:
        return rng.expovariate(1 / self.mean)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """cv: the deviation in means."""

    kind: str
    mean: float
    cv: float

    @property
    def deviation(self) -> float:
        return self.mean * self.cv

    def draw(self, rng: Random) -> float:
        variance = math.log(1 + self.cv**2)
        return rng.lognormvariate(math.log(self.mean) - variance / 2, math.sqrt(variance))


class Sizes(NamedTuple):
    """A mixture: laws, and the part of the jobs that each has. Each is a job type of its own, as consumers tell them apart."""

    laws: Sequence[Law]
    parts: Sequence[float]

    @property
    def mean(self) -> float:
        return self._over([law.mean for law in self.laws])

    @property
    def cv(self) -> float:
        """The deviation of the whole, in means."""
        square = self._over([law.mean**2 + law.deviation**2 for law in self.laws])
        return math.sqrt(max(0.0, square - self.mean**2)) / self.mean

    def job(self, at: float, rng: Random, limit: float = LIMIT) -> Job:
        """One that arrives at `at`."""
        (law,) = rng.choices(self.laws, self.parts) if len(self.laws) > 1 else self.laws
        return Job(at, law.draw(rng), law.kind, limit=limit)

    def _over(self, values: Sequence[float]) -> float:
        return sum(part * value for part, value in zip(self.parts, values, strict=True)) / sum(self.parts)


def parse_sizes(text: str) -> Sizes:
    """`60`, `exponential:60`, `lognormal:60,1.5` (mean and coefficient of variation), or a mixture of these, each after its
    part of the jobs: `0.9*0.1 + 0.1*lognormal:600,1`. Raises SettingsError, also where the parts do not sum to 1."""
    terms = [term.strip() for term in text.split("+")]
    parts = [term.partition("*") if "*" in term else ("1", "*", term) for term in terms]
    weights = [_above_zero(weight, text) for weight, _, _ in parts]
    sizes = Sizes([_law(law.strip(), text) for _, _, law in parts], weights)
    if abs(sum(weights) - 1) > _OFF:
        raise SettingsError(
            f"jobs {text!r}: the parts sum to {sum(weights):g}, and must sum to 1: write before each * which part of all jobs "
            "it is, as in 0.9*0.1 + 0.1*lognormal:600,1 (a term without * is all jobs)"
        )
    return sizes


def _law(law: str, text: str) -> Law:
    name, _, figures = law.rpartition(":")
    values = [_above_zero(figure, text) for figure in figures.split(",")]
    match name.strip(), values:
        case (("" | "constant"), [mean]):
            return Constant(law, mean)
        case "exponential", [mean]:
            return Exponential(law, mean)
        case "lognormal", [mean, cv]:
            return Lognormal(law, mean, cv)
    raise _unusable(text)


def _above_zero(figure: str, text: str) -> float:
    try:
        value = float(figure)
    except ValueError:
        raise _unusable(text) from None
    if not 0 < value <= 1e7:  # also what is not a number
        raise _unusable(text)
    return value


def _unusable(text: str) -> SettingsError:
    return SettingsError(
        f"jobs {text!r} is neither a CSV file that can be read nor a law: write seconds, exponential:MEAN, lognormal:MEAN,CV, or a "
        "mixture such as 0.9*0.1 + 0.1*lognormal:600,1; each number above 0 and at most 1e7"
    )


def parse_jobs(text: str, limit: float = LIMIT) -> list[Job]:
    """Jobs from a CSV `at,seconds` or `at,seconds,type`: when each arrives (seconds from the beginning), and how long it takes.

    Raises SettingsError that names the line.
    """
    rows = list(csv.reader(text.splitlines()))
    shape = tuple(rows[0]) if rows else ()
    if shape not in (("at", "seconds"), ("at", "seconds", "type")):
        raise SettingsError(f"jobs: the first line is {','.join(shape)!r}; it must be 'at,seconds' or 'at,seconds,type'")
    jobs = [_row(row, line, limit, len(shape)) for line, row in enumerate(rows[1:], 2) if row]
    if not jobs:
        raise SettingsError("jobs: the file has no job")
    return sorted(jobs, key=lambda job: job.at)


def _row(row: Sequence[str], line: int, limit: float, columns: int) -> Job:
    if len(row) > columns:
        raise SettingsError(f"jobs: line {line}: {','.join(row)!r} has {len(row)} columns, and the first line {columns}")
    try:
        at, takes = float(row[0]), float(row[1])
    except (IndexError, ValueError):
        raise SettingsError(f"jobs: line {line}: {','.join(row)!r} must have two numbers: at, seconds") from None
    if not (0 <= at <= 1e8 and 0 < takes <= 1e7):
        raise SettingsError(f"jobs: line {line}: at={at:g} must be from 0 to 1e8, seconds={takes:g} above 0 and at most 1e7")
    return Job(at, takes, row[2] if len(row) > 2 else "job", limit=limit)


def drawn(arrivals: Sequence[float], sizes: Sizes, rng: Random, limit: float = LIMIT) -> list[Job]:
    """Whole jobs, evenly over each second; each arrives as the sum of arrivals reaches a whole number."""
    jobs, whole, total = [], 0, 0.0
    for second, count in enumerate(arrivals):
        upto = int(total + count + 1e-6)  # sums of fractions fall short of what they stand for
        at = [second + min(max(0.0, (number - total) / count), _LAST) for number in range(whole + 1, upto + 1)]
        jobs += [sizes.job(moment, rng, limit) for moment in at]
        whole, total = upto, total + count
    return jobs


def by_second(jobs: Sequence[Job]) -> list[float]:
    """How many arrive in each second."""
    arrivals = [0.0] * (int(max((job.at for job in jobs), default=-1.0)) + 1)
    for job in jobs:
        arrivals[int(job.at)] += 1
    return arrivals
