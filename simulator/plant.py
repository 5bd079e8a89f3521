"""Queue and replicas together: one step of the world, and what a scaler sees of it."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import inf
from random import Random
from typing import Final

from autoscaler.model import UNKNOWN, Figure, Observation
from simulator.faults import Blind, CounterReset, Timeline
from simulator.fleet import Fleet
from simulator.queue import Queue, Waits
from simulator.world import World, p95_over_mean, service_lags

_LATELY: Final = 10.0  # seconds over which the handler's time "of late" is taken


class Plant:
    """Everything that a scaler scales. arrived, completed: jobs since the run began."""

    def __init__(self, world: World, timeline: Timeline, rng: Random) -> None:
        self.waits = Waits(world.dt)
        self.queue = Queue(self.waits)
        lags = service_lags(world)
        self.fleet = Fleet(world, lags, timeline, rng)
        self.arrived = self.completed = 0
        self._world, self._timeline, self._rng = world, timeline, rng
        self._longer = 1 - lags.at_once  # the part of the jobs that are in flight at the end of the step they began in
        self._slot_credit = 0.0  # part of a job that the last step could have begun
        self._cap_credit = 0.0  # part of a job that downstream could have taken
        self._busy = 0.0  # seconds in handlers
        self._forgotten = (0, 0, 0.0)  # arrived, completed, busy at the last counter reset
        self._handler = Handler(world)

    def begin(self, step: int, now: float) -> None:
        """Let the events happen that need no scaler, at the beginning of a step."""
        self.fleet.wake(now)
        for event in self._timeline.events(now):
            if isinstance(event, CounterReset):
                self._forgotten = (self.arrived, self.completed, self._busy)
            else:
                self.queue.put_back(step, self.fleet.kill(event.replicas, now))

    def work(self, step: int, now: float, arrived: int) -> None:
        """Jobs arrive, end and begin, in this order."""
        if arrived:
            self.arrived += arrived
            self.queue.put(step, arrived)
        cap = self._timeline.cap(now)
        budget = inf if cap == inf else min(self._cap_credit, 1.0) + cap * self._world.dt
        done = self.fleet.flight.finish(step, budget)
        if self.fleet.stopping:
            drained, back = self.fleet.drain(step, now, budget - done)
            done += drained
            self.queue.put_back(step, back)
        if self.queue.jobs:
            done += self._begin_jobs(step, budget - done)
        self.completed += done
        self._cap_credit = 0.0 if budget == inf else budget - done
        self._busy += self.fleet.in_flight * self._world.dt

    def _begin_jobs(self, step: int, budget: float) -> int:
        """Fill the free slots. A slot serves several jobs in a step where a job is shorter: as many as end in it make room.

        The jobs that both begin and end in this step.
        """
        flight, queue = self.fleet.flight, self.queue
        free = self.fleet.ready * self._world.concurrency - flight.jobs
        room = max(0.0, min(free / self._longer, free + budget)) + self._slot_credit
        count = min(queue.jobs, int(room))
        self._slot_credit = room - count if count < queue.jobs and free > 0 else 0.0
        if not count:
            return 0
        queue.take(step, count)
        flight.start(step, count, self._rng.random())
        return flight.finish(step, budget) if self._longer < 1 else 0

    def observe(self, step: int, now: float) -> Observation:
        """All that there is to see, as new as can be, less what a fault hides."""
        seen = self._whole(step, now)
        blind = self._timeline.blind(now)
        return seen if blind is None else _hide(seen, blind)

    def _whole(self, step: int, now: float) -> Observation:
        oldest = self.queue.oldest(step) * self._world.dt
        wait_mean, wait_p95 = self.waits.lately(step) or (oldest, oldest)
        handler_mean = self._handler.lately(now, self._busy, self.completed)
        in_flight = Figure(self.fleet.in_flight, now)
        arrived, completed, busy = self._forgotten
        return Observation(
            wall=self._world.start_wall + now,
            asked=self.fleet.asked,
            running=Figure(self.fleet.running, now),
            ready=Figure(self.fleet.ready, now),
            ready_jobs=Figure(self.queue.jobs, now),
            unacked=in_flight,
            published=Figure(self.arrived - arrived, now),
            completed=Figure(self.completed - completed, now),
            done=Figure(self.completed - completed, now),
            in_flight=in_flight,
            busy_seconds=Figure(self._busy - busy, now),
            wait_mean=Figure(wait_mean, now),
            wait_p95=Figure(wait_p95, now),
            handler_mean=Figure(handler_mean, now),
            handler_p95=Figure(handler_mean * self._handler.p95, now),
            oldest_age=Figure(oldest, now),
            unschedulable="no node has room" if self.fleet.stuck(now) else "",
        )


def _hide(seen: Observation, blind: Blind) -> Observation:
    if blind.counters_only:
        return replace(seen, published=UNKNOWN, completed=UNKNOWN, done=UNKNOWN, busy_seconds=UNKNOWN)
    return Observation(wall=seen.wall, asked=seen.asked)


class Handler:
    """The mean time in handlers, of late: seconds spent over jobs done in the last 10 s; with none done, what it was before."""

    def __init__(self, world: World) -> None:
        self.p95 = p95_over_mean(world.service_cv)
        self._mean = world.service_seconds
        self._past: deque[tuple[float, float, int]] = deque()  # now, busy, completed

    def lately(self, now: float, busy: float, completed: int) -> float:
        past = self._past
        past.append((now, busy, completed))
        while len(past) > 2 and past[1][0] <= now - _LATELY:
            past.popleft()
        if completed > past[0][2]:
            self._mean = (busy - past[0][1]) / (completed - past[0][2])
        return self._mean
