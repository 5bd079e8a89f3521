"""The figures by which a run is judged, and its course over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.plant import Plant
from simulator.queue import percentile
from simulator.world import World

POINTS = 2000  # of a series, at most


@dataclass(frozen=True, slots=True)
class Score:
    """One run in one line; the names are those of `headrace simulate --json`.

    late_s: seconds in which the oldest waiting job had waited longer than the objective.
    p50_wait_s, p95_wait_s, p99_wait_s: over all jobs, from arrival to begin; those that still wait at the end count with
    what they have waited, and a job that a replica gave back counts again.
    pod_seconds: each replica from being asked for until it has stopped.
    scale_actions: changes of the number asked for.
    max_backlog: the most jobs that waited or were in handlers at a time.
    returned: jobs given back by replicas that were stopped and had not finished them in time.
    drain_s: from the moment when most jobs waited, until fewer wait than arrive in 1 s, by the mean of the whole run (or fewer
    than 1 job, where fewer arrive); 0 where there never were more; until the end of the run where it did not come to that.
    late_jobs: jobs that waited longer than the objective, counted as in the percentiles; 0 just where late_s is 0. The fluid sees
    at the end of each step who waits, and counts waits up to the step in which they end: a wait that it gives as the objective and
    one step is in time.
    """

    trace: str
    policy: str
    late_s: float
    p50_wait_s: float
    p95_wait_s: float
    p99_wait_s: float
    pod_seconds: float
    scale_actions: int
    max_backlog: int
    returned: int
    drain_s: float
    late_jobs: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """The course of a run, at most 2,000 points, each for an equal stretch of time.

    at: seconds, where the stretch begins. arrivals: jobs/s, its mean; backlog (jobs, waiting and in handlers), asked and
    ready (replicas): its highest. asked: cordoned replicas are included. ready: those that run: they take jobs, or take no more
    and end what they run. Both bounds are of the replicas that are paid for: a replica that starts is in asked, one that drains in
    ready.
    """

    at: tuple[float, ...]
    arrivals: tuple[float, ...]
    backlog: tuple[int, ...]
    asked: tuple[int, ...]
    ready: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Where the jobs of a run are at its end: arrived = completed + waiting + in_flight. mean_wait_s: as p50."""

    arrived: int
    completed: int
    waiting: int
    in_flight: int
    mean_wait_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a simulation. late: the spans (seconds) in which the oldest job had waited for too long, in order."""

    score: Score
    series: Series
    totals: Totals
    late: tuple[tuple[float, float], ...] = ()


class Recorder:
    """Watches a plant, step by step. steps: how many there will be. rate: mean arrivals of the run, jobs/s."""

    def __init__(self, plant: Plant, world: World, steps: int, rate: float) -> None:
        self._few = max(1.0, rate)  # fewer jobs waiting are no backlog
        self._plant, self._world = plant, world
        self._stretch = max(1, -(-steps // POINTS))
        self._late_after = round(world.objective / world.dt, 6)  # steps
        self._late: list[list[int]] = []  # spans: the first step, and the one after the last
        self._pods = self._steps = 0
        self._max_backlog = self._peak = self._peak_at = 0
        self._drained_at: int | None = 0
        self._arrived = self._backlog = self._asked = self._ready = 0  # of the stretch
        self._points: list[tuple[float, float, int, int, int]] = []

    def after(self, step: int) -> None:
        """Look at the plant after this step."""
        plant, fleet = self._plant, self._plant.fleet
        waiting = plant.queue.jobs
        self._steps = step + 1
        self._pods += fleet.pods
        if waiting:
            self._judge(step, late=plant.queue.oldest(step) > self._late_after)
        if waiting > self._peak:
            self._peak, self._peak_at, self._drained_at = waiting, step, None
        if self._drained_at is None and waiting < self._few:
            self._drained_at = step
        self._backlog = max(self._backlog, waiting + fleet.in_flight)
        self._asked, self._ready = max(self._asked, fleet.asked), max(self._ready, fleet.ready + fleet.draining)
        if self._steps % self._stretch == 0:
            self._end_stretch()

    def _judge(self, step: int, *, late: bool) -> None:
        if late and self._late and self._late[-1][1] == step:
            self._late[-1][1] = step + 1
        elif late:
            self._late.append([step, step + 1])

    def _end_stretch(self) -> None:
        seconds = self._stretch * self._world.dt
        rate = (self._plant.arrived - self._arrived) / seconds
        self._points.append((len(self._points) * seconds, rate, self._backlog, self._asked, self._ready))
        self._max_backlog = max(self._max_backlog, self._backlog)
        self._arrived, self._backlog, self._asked, self._ready = self._plant.arrived, 0, 0, 0

    def run(self, trace: str, policy: str) -> Run:
        """The judgement, after the last step."""
        plant, dt = self._plant, self._world.dt
        waits = _added(plant.waits.of_run, plant.queue.still_waiting(self._steps))
        drained_at = self._steps if self._drained_at is None else self._drained_at
        score = Score(
            trace=trace,
            policy=policy,
            late_s=sum(end - begin for begin, end in self._late) * dt,
            p50_wait_s=percentile(waits, 0.50) * dt,
            p95_wait_s=percentile(waits, 0.95) * dt,
            p99_wait_s=percentile(waits, 0.99) * dt,
            pod_seconds=self._pods * dt,
            scale_actions=plant.fleet.actions,
            max_backlog=max(self._max_backlog, self._backlog),
            returned=plant.fleet.returned,
            drain_s=(drained_at - self._peak_at) * dt,
            # A wait is counted to the end of the step in which the job began: it was seen waiting for a step less, as in late_s.
            late_jobs=sum(jobs for waited, jobs in waits.items() if waited - 1 > self._late_after),
        )
        totals = Totals(plant.arrived, plant.completed, plant.queue.jobs, plant.fleet.in_flight, _mean(waits) * dt)
        series = Series(*zip(*self._points, strict=True)) if self._points else Series((), (), (), (), ())
        return Run(score, series, totals, tuple((begin * dt, end * dt) for begin, end in self._late))


def _added(some: Mapping[int, int], more: Mapping[int, int]) -> dict[int, int]:
    return {key: some.get(key, 0) + more.get(key, 0) for key in some.keys() | more.keys()}


def _mean(counts: Mapping[int, int]) -> float:
    return sum(value * count for value, count in counts.items()) / (sum(counts.values()) or 1)
