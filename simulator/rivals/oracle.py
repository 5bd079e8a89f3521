"""A bound instead of a policy: what no policy can do better, least late first, then at the fewest pod-seconds.

How it is made, in this order:

1. Least late. The maximum is asked for in the first second, and each start takes the shortest time that the world has. At each
   moment as many jobs have begun as can have, in the order in which they came; so every other policy is late in these seconds at
   least. Its waits, its backlog and the time of its drain are the least, too.
2. Least pod-seconds. A policy that is no later is late in just these seconds. So each job has begun a wait of the objective after
   it arrived or, where that is one of these seconds, by the end of that span; and from then on it has a slot of a replica until it
   ends, or the run does. The sum of that over the slots of a replica is work that is paid for in any case.
3. Further cost in any case, the greater of two: the minimum of replicas where there cannot be enough work for them (the
   work until b of jobs that all begin at once, less that until a of jobs that all begin as late as they may, is the most that is
   done from a to b); or a start of the shortest time for each replica that the densest work needs beyond the initial ones.

So it holds for every policy with the same bounds of replicas that breaks no run off; one that does has paid for the run in part,
and the job waits again. It need not be reachable: starts are as short as they come, replicas are taken in parts, each column is the
least by itself. Where service times are drawn (the fluid with service_cv above 0), it counts with their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import ceil
from typing import Final, NamedTuple

from simulator.discrete import Job
from simulator.followed import Consumers, follow_run
from simulator.rivals.fixed import Fixed
from simulator.score import Run, Series
from simulator.simulate import simulate
from simulator.world import World

NAME: Final = "oracle"


class Batch(NamedTuple):
    """jobs that arrive between `first` and `last` (seconds), and take `takes` seconds each."""

    first: float
    last: float
    jobs: float
    takes: float


class Work(NamedTuple):
    """Pod-seconds of work done by each whole second: `most` where all jobs begin at once, `least` where they wait as they may."""

    most: Sequence[float]
    least: Sequence[float]


def of_arrivals(world: World, arrivals: Sequence[float], seed: int = 0, *, minimum: int = 1, trace: str = "") -> Run:
    """The bound of the fluid. minimum: replicas, the fewest that a policy may ask for."""
    quick = _quickest(world)
    run = simulate(quick, arrivals, Fixed(world.max_replicas, interval=1.0, name=NAME), seed=seed, trace=trace)
    batches = [Batch(at, at + 1.0, jobs, world.service_seconds) for at, jobs in enumerate(arrivals) if jobs]
    slack = 2 * world.dt  # a job that is just not late begins in the step after, and is counted at its end
    return _bounded(world, run, batches, len(arrivals), minimum, slack)


def of_jobs(world: World, jobs: Sequence[Job], seconds: int, seed: int = 0, *, minimum: int = 1, trace: str = "") -> Run:
    """The bound of the engine that follows each job. Its replicas take nothing ahead: a job never waits behind a busy one."""
    how = Consumers(prefetch=world.concurrency)
    run = follow_run(
        _quickest(world), jobs, Fixed(world.max_replicas, interval=1.0, name=NAME), seconds, seed, trace=trace, how=how
    )
    batches = [Batch(job.at, job.at, 1.0, min(job.takes, job.limit)) for job in jobs if job.at < seconds]
    return _bounded(world, run, batches, seconds, minimum, 0.0)


def _quickest(world: World) -> World:
    return replace(world, startup=(world.startup[0], world.startup[0]))


def _bounded(world: World, run: Run, batches: Sequence[Batch], seconds: int, minimum: int, slack: float) -> Run:
    work = work_of(batches, run.late, world, seconds, slack)
    idle = _idle(work, min(minimum, world.max_replicas))
    starts = world.startup[0] * max(0, densest(work) - world.initial)
    pod_seconds = work.least[-1] + max(idle, starts)
    score = replace(run.score, pod_seconds=pod_seconds, scale_actions=0)
    return replace(run, score=score, series=_course(run.series, work))


def work_of(batches: Sequence[Batch], late: Sequence[tuple[float, float]], world: World, seconds: int, slack: float) -> Work:
    """late: the spans in which no policy can be in time, in order. slack: seconds that a wait may be longer, on a grid of steps."""
    most = [(batch.first, batch.jobs, batch.takes) for batch in batches]
    least, span = [], 0
    for batch in sorted(batches, key=lambda batch: batch.last):
        due = batch.last + world.objective
        while span < len(late) and late[span][1] < due:
            span += 1
        if span < len(late) and late[span][0] <= due:
            due = late[span][1]
        least.append((due + slack, batch.jobs, batch.takes))
    return Work(*(_done(begun, seconds, world.concurrency) for begun in (most, least)))


def _done(begun: Sequence[tuple[float, float, float]], seconds: int, concurrency: int) -> list[float]:
    """Pod-seconds done by each second from 0 to `seconds`. begun: when, how many jobs, of how many seconds."""
    once, on = [0.0] * (seconds + 2), [0.0] * (seconds + 2)  # in this second alone; in each second from this one on
    for at, jobs, takes in begun:
        for edge, sign in ((at, jobs), (at + takes, -jobs)):
            whole = ceil(edge)
            if whole <= seconds:
                once[whole] += sign * (whole - edge)
                on[whole + 1] += sign
    return [total / concurrency for total in accumulate(a + b for a, b in zip(once, accumulate(on), strict=True))][: seconds + 1]


def _idle(work: Work, minimum: int) -> float:
    """The most pod-seconds that `minimum` replicas must be without work, over all choices of spans that do not overlap."""
    outside, inside = 0.0, float("-inf")
    for second, (most, least) in enumerate(zip(work.most, work.least, strict=True)):
        paid = minimum * second
        outside = max(outside, inside + paid - most)
        inside = max(inside, outside - paid + least)
    return outside


def densest(work: Work) -> int:
    """Replicas that the densest work needs at one moment at least, over spans of 1, 2, 4, ... seconds."""
    replicas, span = 0.0, 1
    while span < len(work.least):
        needs = (least - most for least, most in zip(work.least[span:], work.most, strict=False))
        replicas, span = max(replicas, max(needs) / span), 2 * span
    return ceil(replicas - 1e-9)


def _course(series: Series, work: Work) -> Series:
    """Its replicas are those that would be busy if each job began as it arrives: the load, as a picture can show it."""
    seconds = len(work.most) - 1
    edges = [min(seconds, int(at)) for at in series.at] + [seconds]
    busy = [ceil((work.most[end] - work.most[begin]) / max(1, end - begin) - 1e-9) for begin, end in pairwise(edges)]
    return replace(series, asked=tuple(busy), ready=tuple(busy))
