"""Shipped scenarios: worlds with their arrivals, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from random import Random
from typing import Final

from simulator import arrivals as make
from simulator.discrete import Job
from simulator.followed import Consumers
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world, and the jobs that arrive in each second. to_scale: its rates are only a shape, in parts of the peak.

    jobs: where each is to be followed, those of the arrivals, each with its own time; None: the fluid counts them. how: consumers
    of the engine that follows them.
    """

    name: str
    world: World
    arrivals: Sequence[float]
    to_scale: bool = False
    jobs: Sequence[Job] | None = None
    how: Consumers | None = None


def measured_step(tail: int = 357 - 183) -> Scenario:
    """The step that KEDA and the HPA were measured with on a real cluster: 30,000 jobs in 3 s, then 200/s for 180 s.

    A replica does 100 jobs/s, 10 at a time, 0.1 s each, and is ready after 1 to 7 s; there is 1, and 30 at most.
    Their course is in bench/traces/keda-hpa-step-measured.csv. tail: seconds without arrivals after it, as long as it was watched.
    """
    world = World(concurrency=10, service_seconds=0.1, startup=(1.0, 7.0), initial=1, max_replicas=30)
    return Scenario("measured-step", world, [10_000.0] * 3 + [200.0] * 180 + [0.0] * tail)


def big_day() -> Scenario:
    """230 million jobs in a day, 12,000/s at its peak at 14:00, 300/s in the night; a replica does 100 jobs/s."""
    return Scenario("day", World(initial=5, max_replicas=400), make.diurnal(230e6, peak=12_000, base=300))


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a day. mean, peak: arrivals (jobs/s), the peak over 5 s. replicas: what the peak needs."""

    hour: int
    mean: float
    peak: float
    replicas: int


def sizing(arrivals: Sequence[float], replica_rate: float, utilisation: float = 0.8) -> list[Hour]:
    """Replicas by hour, each doing `replica_rate` jobs/s when always busy and being busy for `utilisation` of its time."""
    rows = []
    for hour, at in enumerate(range(0, len(arrivals), 3600)):
        of_hour = arrivals[at : at + 3600]
        peak = make.peak_rate(of_hour)
        replicas = ceil(peak / (replica_rate * utilisation) - 1e-9)
        rows.append(Hour(hour, sum(of_hour) / len(of_hour), peak, replicas))
    return rows


def pod_hours(rows: Sequence[Hour]) -> int:
    """Pod-hours of these hours, when each hour has the replicas that its peak needs."""
    return sum(row.replicas for row in rows)


_SECONDS: Final = 1200  # of a generated trace: 20 minutes, so that a window of 300 s has its effect

SHAPES: Final[Mapping[str, Callable[[Random], list[float]]]] = {
    "step": lambda _: make.step(_SECONDS, before=0.1, after=1.0, at=120),
    "ramp": lambda _: make.ramp(_SECONDS // 2, 0.05, 1.0) + make.ramp(_SECONDS // 2, 1.0, 0.05),
    "spike": lambda _: make.spike(_SECONDS, base=0.1, peak=1.0, at=300, width=60),
    "diurnal": lambda _: make.compressed(make.diurnal(0.3 * 86_400, peak=1.0, base=0.05), 24),  # a day in an hour
    "on_off": lambda _: make.on_off(_SECONDS, 1.0, on=60, off=120),
    "poisson": lambda rng: make.poisson([40.0] * _SECONDS, rng),  # 40/s, so that a second differs from the next by 16 %
    "silent_then_burst": lambda _: make.silent_then_burst(_SECONDS, silent=600, jobs=10.0, over=10),
}
"""Generators by name: of their figures only the shape counts."""

WHOLE: Final[Mapping[str, Callable[[], Scenario]]] = {"measured-step": measured_step, "day": big_day}
"""Scenarios by name that have their own world and rates."""


def scenario(name: str, seed: int = 0) -> Scenario | None:
    """The generator or the scenario with this name, or None. seed: for those that draw."""
    if name in WHOLE:
        return WHOLE[name]()
    shape = SHAPES.get(name)
    return None if shape is None else Scenario(name, World(), shape(Random(seed)), to_scale=True)


def to_peak(scenario: Scenario, replicas: int) -> Scenario:
    """The same, scaled so that its peak keeps `replicas` busy; there may be twice as many, for the backlog that has piled up."""
    arrivals = make.scaled_to(scenario.arrivals, replicas * scenario.world.replica_rate)
    return replace(scenario, world=replace(scenario.world, max_replicas=2 * replicas), arrivals=arrivals)
