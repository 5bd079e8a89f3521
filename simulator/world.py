"""The properties of the simulated world: the replicas, how long a job takes, how long a start takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from core.errors import SettingsError

_TAIL: Final = 1e-4  # of the jobs take longer than the longest lag that is kept apart: 1 in 10,000
_NOISE: Final = 1e-9  # a weight below is a rounding error


@dataclass(frozen=True, slots=True)
class World:
    """One queue, and replicas that are all alike. The defaults are those of the measured step: 100 jobs/s a replica.

    concurrency: jobs that a replica runs at once. service_seconds: mean time of a job; service_cv: its coefficient of
    variation (0: every job takes the mean; above: log-normal). startup: seconds from asking for a replica to its first job,
    uniform between the two. drain_seconds: a replica that is to stop hands back what it has not finished by then.
    initial: replicas that are ready at the start. max_replicas: the most that a scaler may ask for.
    dt: seconds of a step; a second must be a whole number of steps. objective: seconds that a job may wait.
    start_wall: Unix seconds when the run begins, for schedules.
    """

    concurrency: int = 10
    service_seconds: float = 0.1
    service_cv: float = 0.0
    startup: tuple[float, float] = (1.0, 7.0)
    drain_seconds: float = 25.0
    initial: int = 1
    max_replicas: int = 1000
    dt: float = 0.25
    objective: float = 5.0
    start_wall: float = 1_750_000_000.0

    def __post_init__(self) -> None:
        """Raises SettingsError that names the field."""
        _require(self.concurrency >= 1, f"concurrency={self.concurrency} must be at least 1")
        _require(self.service_seconds > 0, f"service_seconds={self.service_seconds} must be above 0")
        _require(0 <= self.service_cv <= 10, f"service_cv={self.service_cv} must be from 0 to 10")
        _require(0 <= self.startup[0] <= self.startup[1], f"startup={self.startup} must be two seconds, the lower first")
        _require(self.drain_seconds >= 0, f"drain_seconds={self.drain_seconds} must be at least 0")
        _require(0 <= self.initial <= self.max_replicas, f"initial={self.initial} must be from 0 to {self.max_replicas}")
        _require(self.objective > 0, f"objective={self.objective} must be above 0")
        _require(0 < self.dt <= 1, f"dt={self.dt} must be above 0 and at most 1")
        _require(abs(self.dt * self.steps_per_second - 1) < 1e-9, f"dt={self.dt} must divide a second, such as 0.25")

    @property
    def steps_per_second(self) -> int:
        return round(1 / self.dt)

    @property
    def replica_rate(self) -> float:
        """Jobs/s of a replica that is always busy."""
        return self.concurrency / self.service_seconds


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise SettingsError(f"simulation: {text}")


class Lags(NamedTuple):
    """How many steps after its start a job ends. steps: rising; cumulative: the part that ended by then, up to 1."""

    steps: tuple[int, ...]
    cumulative: tuple[float, ...]

    @property
    def at_once(self) -> float:
        """The part that ends in the step in which it began."""
        return self.cumulative[0] if self.steps[0] == 0 else 0.0


def service_lags(world: World) -> Lags:
    """The service time on the grid of steps, its mean kept.

    A job that takes j + x steps (0 <= x < 1) counts as ending after j steps with the weight 1 - x and after j + 1 with x. Summed
    over the distribution F, the weight of lag j is the second difference of A at j, over dt, with A(x) the area under F up to x.
    So a replica that is always busy does exactly concurrency/service_seconds jobs/s, also when a job is shorter than a step.
    """
    area, dt = _area_under(world.service_seconds, world.service_cv), world.dt
    steps: list[int] = []
    cumulative: list[float] = []
    total, lag, before, here = 0.0, 0, 0.0, 0.0
    while total < 1 - _TAIL:
        after = area((lag + 1) * dt)
        weight = (after - 2 * here + before) / dt
        if weight > _NOISE:
            total += weight
            steps.append(lag)
            cumulative.append(total)
        lag, before, here = lag + 1, here, after
    return Lags(tuple(steps), (*cumulative[:-1], 1.0))


def _area_under(mean: float, cv: float) -> Callable[[float], float]:
    """The area under the distribution function of the service time, from 0 to x (seconds)."""
    if cv == 0:
        return lambda x: max(0.0, x - mean)
    sigma = _sigma(cv)
    middle, normal = math.log(mean) - sigma * sigma / 2, NormalDist()

    def area(x: float) -> float:  # x F(x) less the partial expectation, which a log-normal has in closed form
        z = (math.log(x) - middle) / sigma
        return x * normal.cdf(z) - mean * normal.cdf(z - sigma)

    return area


def p95_over_mean(cv: float) -> float:
    """The 95th percentile of the service time, in means."""
    sigma = _sigma(cv)
    return math.exp(NormalDist().inv_cdf(0.95) * sigma - sigma * sigma / 2)


def _sigma(cv: float) -> float:
    """The log-normal's sigma for a coefficient of variation."""
    return math.sqrt(math.log(1 + cv * cv))
