"""A run of the engine that follows every job, judged by the same figures as one of the fluid."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, fsum
from typing import NamedTuple

from autoscaler.model import Figure, Observation
from simulator.discrete import Followed, Job, follow
from simulator.ours import Ours
from simulator.scaler import Scaler
from simulator.score import POINTS, Run, Score, Series, Totals
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Consumers:
    """prefetch: jobs that a replica holds at most, 0 is twice the concurrency. takeable: they report how long their runs last."""

    prefetch: int = 0
    takeable: bool = True


class Stay(NamedTuple):
    """A job's time in the queue (seconds). until: when it began, or None where it waits still."""

    since: float
    until: float | None

    def end(self, seconds: float) -> float:
        """The time in seconds at which it was over, in a run of `seconds`."""
        return seconds if self.until is None else self.until


def follow_run(
    world: World,
    jobs: Sequence[Job],
    scaler: Scaler,
    seconds: float,
    seed: int = 0,
    *,
    trace: str = "",
    how: Consumers | None = None,
) -> Run:
    """Run a new `scaler` on `jobs` for the given number of seconds. The jobs are copied: the same list serves several policies.

    Only our controller knows how long runs last, and spares them: the rivals' replicas go as they are asked to, the idlest first.
    """
    how = how or Consumers()
    own = [Job(job.at, job.takes, job.kind, limit=job.limit) for job in jobs if job.at < seconds]
    watched = _Watched(scaler, [job.at for job in own])
    spares = how.takeable and isinstance(scaler, Ours)
    ran = follow(world, own, watched, prefetch=how.prefetch, takeable=spares, seed=seed, until=seconds)
    return _judged(world, ran, scaler.name, seconds, trace)


class _Watched:
    """A scaler to which the broker's count of published jobs is given too, as the fluid gives it."""

    def __init__(self, scaler: Scaler, arrived: Sequence[float]) -> None:
        self.name, self.interval = scaler.name, scaler.interval
        self._scaler, self._arrived = scaler, arrived

    def ask(self, seen: Observation, now: float) -> int:
        published = bisect_right(self._arrived, now)
        return self._scaler.ask(replace(seen, published=Figure(published, now)), now)


def stays(jobs: Iterable[Job]) -> list[Stay]:
    """Each job's times in the queue: since it arrived, and again since each time that a replica handed it back."""
    return [
        Stay(since, job.begun[turn] if turn < len(job.begun) else None)
        for job in jobs
        for turn, since in enumerate([job.at, *job.back])
    ]


def late_spans(found: Iterable[Stay], objective: float, end: float) -> list[tuple[float, float]]:
    """Seconds in which a job waited that had waited longer than `objective`, as spans that do not touch, in order."""
    spans: list[tuple[float, float]] = []
    for since, stop in sorted((stay.since + objective, stay.end(end)) for stay in found):
        if stop <= since:
            continue
        if spans and since <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], stop))
        else:
            spans.append((since, stop))
    return spans


def _judged(world: World, ran: Followed, policy: str, seconds: float, trace: str) -> Run:
    found = stays(ran.jobs)
    late = late_spans(found, world.objective, seconds)
    waited = sorted(stay.end(seconds) - stay.since for stay in found)
    waiting = _steps([stay.since for stay in found], [stay.until for stay in found if stay.until is not None])
    present = _steps([job.at for job in ran.jobs], [job.ended for job in ran.jobs if job.ended is not None])
    score = Score(
        trace=trace,
        policy=policy,
        late_s=fsum(end - begin for begin, end in late),
        p50_wait_s=_rank(waited, 0.50),
        p95_wait_s=_rank(waited, 0.95),
        p99_wait_s=_rank(waited, 0.99),
        pod_seconds=ran.pod_seconds,
        scale_actions=ran.actions,
        max_backlog=int(max((count for _, count in present), default=0)),
        returned=ran.handed_back,
        drain_s=_drained(waiting, max(1.0, len(ran.jobs) / seconds), seconds),
        late_jobs=sum(stay.end(seconds) > stay.since + world.objective for stay in found),
    )
    done = sum(job.ended is not None for job in ran.jobs)
    still = sum(stay.until is None for stay in found)
    mean = sum(waited) / len(waited) if waited else 0.0
    totals = Totals(len(ran.jobs), done, still, len(ran.jobs) - done - still, mean)
    return Run(score, _series(ran.jobs, present, ran.course, seconds), totals, tuple(late))


def _steps(more: Iterable[float], fewer: Iterable[float]) -> list[tuple[float, int]]:
    """How many there are from each time on."""
    changes = sorted([(at, 1) for at in more] + [(at, -1) for at in fewer])
    steps: list[tuple[float, int]] = []
    count = 0
    for at, change in changes:
        count += change
        if steps and steps[-1][0] == at:
            steps[-1] = (at, count)
        else:
            steps.append((at, count))
    return steps


def _rank(ordered: Sequence[float], part: float) -> float:
    """The nearest rank, as `queue.percentile`."""
    return ordered[max(0, ceil(part * len(ordered)) - 1)] if ordered else 0.0


def _drained(waiting: Sequence[tuple[float, int]], few: float, end: float) -> float:
    """As `Score.drain_s`: from the moment when most waited until fewer than `few` did."""
    most, began = max(((count, -at) for at, count in waiting), default=(0, 0.0))
    if most < few:
        return 0.0
    return next((at for at, count in waiting if at > -began and count < few), end) + began


def _series(
    jobs: Sequence[Job], present: Sequence[tuple[float, int]], course: Sequence[tuple[float, int, int]], seconds: float
) -> Series:
    stretch = max(1, ceil(seconds / POINTS))
    points = range(max(1, ceil(seconds / stretch)))
    arrivals = [0.0] * len(points)
    for job in jobs:
        arrivals[int(job.at / stretch)] += 1 / stretch
    asked, ready = [(at, of) for at, of, _ in course], [(at, of) for at, _, of in course]
    backlog, asks, readies = (_highest(steps, len(points), stretch) for steps in (present, asked, ready))
    return Series(tuple(float(point * stretch) for point in points), tuple(arrivals), backlog, asks, readies)


def _highest(steps: Sequence[tuple[float, int]], points: int, stretch: int) -> tuple[int, ...]:
    """The greatest value within each stretch, that at its beginning included."""
    found, now, step = [], 0, 0
    for point in range(points):
        most, end = now, (point + 1) * stretch
        while step < len(steps) and steps[step][0] < end:
            now = steps[step][1]
            most = max(most, now)
            step += 1
        found.append(most)
    return tuple(found)
