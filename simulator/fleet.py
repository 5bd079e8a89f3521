"""The replicas: asked for, starting, ready, stopping."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from simulator.faults import Timeline
from simulator.flight import Flight
from simulator.world import Lags, World


@dataclass(slots=True)
class Stopping:
    """Replicas that take nothing more. until: seconds; jobs that they still hold then go back."""

    replicas: int
    flight: Flight
    until: float

    @property
    def pods(self) -> int:
        """Those that still run: one that holds nothing has stopped, and each of the others holds a job at least."""
        return min(self.replicas, self.flight.jobs)


class Fleet:
    """asked: desired replicas; ready: replicas that take work. flight: the jobs of the ready ones."""

    def __init__(self, world: World, lags: Lags, timeline: Timeline, rng: Random) -> None:
        self.asked = world.initial
        self.ready = world.initial
        self.actions = 0  # changes of `asked`
        self.returned = 0  # jobs that stopping replicas did not finish
        self.flight = Flight(lags)
        self.stopping: list[Stopping] = []
        self._starting: list[float] = []  # a heap: seconds at which each is ready
        self._world, self._timeline, self._rng = world, timeline, rng

    @property
    def running(self) -> int:
        """Replicas that exist and are not stopping."""
        return self.ready + len(self._starting)

    @property
    def pods(self) -> int:
        """Replicas that are paid for: from being asked for until they have stopped, also while they cannot start."""
        return self.ready + len(self._starting) + self.draining

    @property
    def draining(self) -> int:
        """Replicas that take nothing more and still end what they run."""
        return sum(group.pods for group in self.stopping) if self.stopping else 0

    @property
    def in_flight(self) -> int:
        return self.flight.jobs + (sum(group.flight.jobs for group in self.stopping) if self.stopping else 0)

    def stuck(self, now: float) -> bool:
        """Whether there are replicas that cannot start."""
        return bool(self._starting) and self._timeline.start_from(now) > now

    def wake(self, now: float) -> None:
        """Those whose start has taken its time are ready."""
        starting = self._starting
        while starting and starting[0] <= now:
            heappop(starting)
            self.ready += 1

    def ask(self, replicas: int, now: float) -> None:
        """Set how many there shall be; starts and stops begin at once. Bounded by 0 and the world's max_replicas."""
        replicas = max(0, min(replicas, self._world.max_replicas))
        self.actions += replicas != self.asked
        self.asked = replicas
        self._start(replicas - self.running, now)
        self._stop(self.running - replicas, now)

    def _start(self, count: int, now: float) -> None:
        begins = self._timeline.start_from(now) if count > 0 else now
        for _ in range(count):
            heappush(self._starting, begins + self._rng.uniform(*self._world.startup))

    def _stop(self, count: int, now: float) -> None:
        """Those that are not ready go first, as a ReplicaSet does, the latest before the others; then ready ones, evenly busy."""
        if count <= 0:
            return
        unready = min(count, len(self._starting))
        if unready:
            self._starting = sorted(self._starting)[: len(self._starting) - unready]  # sorted is a heap, too
        if count > unready:
            stopping = count - unready
            group = Stopping(stopping, self.flight.split(stopping / self.ready), now + self._world.drain_seconds)
            self.ready -= stopping
            self.stopping.append(group)

    def kill(self, count: int, now: float) -> int:
        """End `count` ready replicas, and replace them. Returns the number of jobs that they held."""
        count = min(count, self.ready)
        if count == 0:
            return 0
        lost = self.flight.split(count / self.ready).jobs
        self.ready -= count
        self._start(self.asked - self.running, now)
        return lost

    def drain(self, step: int, now: float, budget: float) -> tuple[int, int]:
        """A step of the stopping replicas: jobs they finish, at most `budget`, and jobs they hand back."""
        done = back = 0
        for group in self.stopping:
            done += group.flight.finish(step, budget - done)
            if now >= group.until:
                back += group.flight.jobs
                group.flight.jobs = 0
        self.stopping = [group for group in self.stopping if group.flight.jobs]
        self.returned += back
        return done, back
