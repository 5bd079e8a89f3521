"""The second engine: every job and every replica is followed, with prefetch, hand-backs, and what consumers tell of their runs.

The fluid (`simulator/plant.py`) counts jobs, so that a day of 12,000 jobs/s takes seconds; it cannot tell which replica runs what,
and with jobs that are longer than a drain that is what matters. Here an event is a job's arrival or end, a replica's start or end,
or a decision; a run of 100,000 jobs takes seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import NamedTuple

from autoscaler.misplaced import AGAIN, JITTER, LEASE, misplaced
from autoscaler.model import UNKNOWN, Figure, Observation, Seen
from core.figures import RECENT_SECONDS, p95
from core.lasting import Lasting
from simulator.scaler import Scaler
from simulator.world import World


@dataclass(eq=False, slots=True)
class Job:
    """at: seconds, when it arrives. takes: seconds in its handler. begun: when it began, each time. ended: when it had ended.

    limit: seconds, its contract's time limit, at which a run is broken off and ends. back: when a run was handed back, each time.
    taken: when a replica took it last, perhaps ahead of its slot. moved: how often it was handed back without having begun.
    """

    at: float
    takes: float
    kind: str = "job"
    begun: list[float] = field(default_factory=list)
    ended: float | None = None
    limit: float = 86_400.0
    back: list[float] = field(default_factory=list)
    taken: float = 0.0
    moved: int = 0


@dataclass(eq=False, slots=True)
class Pod:
    """running: jobs in handlers; held: taken ahead. until: None, or when what it still runs is handed back. cordoned: it takes
    nothing, and goes once what it runs ends within the drain. plain: until then it takes nothing ahead.
    """

    ready: bool
    running: dict[Job, None] = field(default_factory=dict)
    held: deque[Job] = field(default_factory=deque)
    lasting: Lasting = field(default_factory=Lasting)
    until: float | None = None
    cordoned: bool = False
    plain: float = -inf

    @property
    def jobs(self) -> int:
        return len(self.running) + len(self.held)


class Followed(NamedTuple):
    """The result of a run. pod_seconds: each replica from being asked for until it has ended. actions: changes of the number asked
    for. handed_back: runs that were broken off. most: replicas at once. ended: seconds, when the last job had ended. made: replicas
    in all. course: seconds, replicas asked for and replicas that run, from then on; cordoned ones are in both, and those that end
    what they run within the drain are in the second.
    """

    jobs: Sequence[Job]
    pod_seconds: float
    actions: int
    handed_back: int
    most: int
    ended: float
    made: int
    course: Sequence[tuple[float, int, int]] = ()


class Fleet:
    """One queue and its replicas. prefetch: jobs that a replica holds at most."""

    def __init__(self, world: World, prefetch: int, rng: Random) -> None:
        self.now = 0.0
        self.asked = world.initial
        self.pods: list[Pod] = []
        self.pod_seconds = 0.0
        self.actions = self.handed_back = self.most = self.made = 0
        self._world, self._prefetch, self._rng = world, prefetch, rng
        self._queue: deque[Job] = deque()
        self._turns: deque[Pod] = deque()  # of those that take work, who is next
        self._events: list[tuple[float, int, str, object]] = []
        self._order = count()
        self._settled = 0
        self._busy = 0.0
        self._running_since = 0.0  # the sum of the times at which what runs began
        self._recent: deque[tuple[float, float, float]] = deque()  # ended, waited, took
        self._asked_at = -inf  # when replicas were asked to take nothing ahead
        self.course: list[tuple[float, int, int]] = []
        for _ in range(world.initial):
            self._add(ready=True)
        self._note()

    def at(self, time: float, what: str, about: object) -> None:
        heappush(self._events, (time, next(self._order), what, about))

    def next(self) -> tuple[str, object] | None:
        """Go to the time of the next event: what happens, and to whom."""
        if not self._events:
            return None
        time, _, what, about = heappop(self._events)
        self.pod_seconds += (time - self.now) * len(self.pods)
        self.now = time
        return what, about

    def arrive(self, job: Job) -> None:
        self._queue.append(job)
        self._hand_out()

    def ready(self, pod: Pod) -> None:
        if pod.until is None and pod in self.pods:
            pod.ready = True
        if pod.ready and not pod.cordoned:
            self._turns.append(pod)
            self._hand_out()
        self._note()

    def end(self, pod: Pod, job: Job) -> bool:
        """Whether it ended: it was not handed back before."""
        if job not in pod.running:
            return False
        self._leave_handler(pod, job)
        job.ended = self.now
        self._settled += 1
        self._recent.append((self.now, job.begun[0] - job.at, min(job.takes, job.limit)))
        if pod.until is None:
            self._begin(pod)
            self._hand_out()
        elif not pod.running:
            self.pods.remove(pod)
            self._note()
        return True

    def give_up(self, pod: Pod) -> None:
        """Its drain is over: its unfinished jobs are requeued."""
        if pod not in self.pods:
            return
        for job in list(pod.running):
            self._leave_handler(pod, job)
            self.handed_back += 1
            job.back.append(self.now)
            self._queue.appendleft(job)
        self.pods.remove(pod)
        self._hand_out()
        self._note()

    def ask(self, replicas: int, *, cordons: bool) -> None:
        """cordons: replicas are of those that take work; the others go without losing any."""
        replicas = max(0, min(replicas, self._world.max_replicas))
        if cordons:
            self._take_nothing_ahead()
            self._cordon(replicas)
            self._stop_due()
            replicas = max(replicas, len(self._active())) + sum(pod.cordoned for pod in self.pods)
        self.actions += replicas != self.asked
        self.asked = replicas
        staying = [pod for pod in self.pods if pod.until is None]
        for _ in range(replicas - len(staying)):
            self._add(ready=False)
        for pod in sorted(staying, key=self._loss)[: max(0, len(staying) - replicas)]:
            self._stop(pod)
        self.most = max(self.most, len(self.pods))
        self._note()

    def _note(self) -> None:
        """Its course goes on; a state that holds for no time is left out."""
        if self.course and self.course[-1][0] == self.now:
            self.course.pop()
        point = (self.now, self.asked, sum(pod.ready for pod in self.pods))
        if not self.course or self.course[-1][1:] != point[1:]:
            self.course.append(point)

    def _take_nothing_ahead(self) -> None:
        """As `autoscaler/ahead.py`: where jobs wait in one beside a free slot of another, they go back, and none is taken ahead for
        a while."""
        active = [pod for pod in self._active() if pod.ready]
        if self.now - self._asked_at < AGAIN or not misplaced(self._ahead(pod) for pod in active):
            return
        self._asked_at = self.now
        for pod in active:
            pod.plain = self.now + LEASE * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)
            self._hand_back_held(pod)
        self._hand_out()

    def _ahead(self, pod: Pod) -> tuple[float, int]:
        return self.now - pod.held[0].taken if pod.held else 0.0, self._world.concurrency - len(pod.running)

    def _active(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.until is None and not pod.cordoned]

    def _cordon(self, wanted: int) -> None:
        """As `autoscaler/cordons.py`: bring back those first that would stay longest, or cordon those that may go soonest."""
        active, drain = sorted(self._active(), key=self._loss), self._world.drain_seconds
        back = sorted((pod for pod in self.pods if pod.cordoned), key=self._loss, reverse=True)
        idle = bool(active) and active[0].ready and active[0].lasting.seconds(self.now) <= drain
        exchange = idle and wanted <= len(active) and bool(back) and back[0].lasting.seconds(self.now) > drain
        back = back[: max(exchange, wanted - len(active))]
        for pod in back:
            pod.cordoned = False
            if pod.ready:
                self._turns.append(pod)
        for pod in active[: max(exchange, len(active) - wanted)]:
            pod.cordoned = True
            self._take_from(pod)
        self._hand_out()

    def _stop_due(self) -> None:
        """Stop the cordoned replicas that lose nothing."""
        drain = self._world.drain_seconds
        due = [pod for pod in self.pods if pod.cordoned and pod.lasting.seconds(self.now) <= drain]
        for pod in due:
            pod.cordoned = False
            self._stop(pod)

    def observe(self, *, takeable: bool) -> Observation:
        """takeable: whether consumers tell how long their runs last, and can be cordoned."""
        while self._recent and self._recent[0][0] < self.now - RECENT_SECONDS:
            self._recent.popleft()
        staying = self._active()
        running = sum(len(pod.running) for pod in self.pods)
        may_go = self._figure(len(staying)) if takeable else UNKNOWN
        waits, handlers = ([row[n] for row in self._recent] for n in (1, 2))
        return Observation(
            wall=self._world.start_wall + self.now,
            asked=self.asked - sum(pod.cordoned for pod in self.pods),
            running=self._figure(len(staying)),
            ready=self._figure(sum(pod.ready for pod in staying)),
            ready_jobs=self._figure(len(self._queue)),
            unacked=self._figure(sum(pod.jobs for pod in self.pods)),
            completed=self._figure(self._settled),
            done=self._figure(self._settled),
            in_flight=self._figure(running),
            ending=self._figure(running - sum(len(pod.running) for pod in staying)),
            busy_seconds=self._figure(self._busy + running * self.now - self._running_since),
            wait_mean=self._mean(waits),
            handler_mean=self._mean(handlers),
            handler_p95=self._figure(p95(handlers)) if handlers else UNKNOWN,
            takeable=may_go,
        )

    def _figure(self, value: float) -> Figure:
        return Figure(value, self.now)

    def _mean(self, values: Sequence[float]) -> Seen:
        return self._figure(sum(values) / len(values)) if values else UNKNOWN

    def _loss(self, pod: Pod) -> tuple[bool, float, int]:
        """A ReplicaSet takes those that are not ready first, then by the deletion cost that the controller gives."""
        return (pod.ready, pod.lasting.seconds(self.now), pod.jobs)

    def _add(self, *, ready: bool) -> None:
        pod = Pod(ready)
        self.made += 1
        self.pods.append(pod)
        if ready:
            self._turns.append(pod)
        else:
            self.at(self.now + self._rng.uniform(*self._world.startup), "ready", pod)

    def _take_from(self, pod: Pod) -> None:
        """It takes nothing more, and hands back what waits."""
        if pod in self._turns:
            self._turns.remove(pod)
        self._hand_back_held(pod)

    def _hand_back_held(self, pod: Pod) -> None:
        while pod.held:
            job = pod.held.pop()
            job.moved += 1
            self._queue.appendleft(job)

    def _stop(self, pod: Pod) -> None:
        self._take_from(pod)
        if pod.running:
            pod.until = self.now + self._world.drain_seconds
            self.at(pod.until, "give up", pod)
        else:
            self.pods.remove(pod)
        self._hand_out()

    def _hand_out(self) -> None:
        """As a broker does: each in turn, none beyond its prefetch."""
        full = 0
        while self._queue and full < len(self._turns):
            pod = self._turns[0]
            self._turns.rotate(-1)
            if pod.jobs >= self._most(pod):
                full += 1
                continue
            full = 0
            job = self._queue.popleft()
            job.taken = self.now
            pod.held.append(job)
            self._begin(pod)

    def _most(self, pod: Pod) -> int:
        """Jobs that it holds at most."""
        return self._prefetch if self.now >= pod.plain else min(self._prefetch, self._world.concurrency)

    def _begin(self, pod: Pod) -> None:
        while pod.held and len(pod.running) < self._world.concurrency:
            job = pod.held.popleft()
            pod.running[job] = None
            job.begun.append(self.now)
            self._running_since += self.now
            pod.lasting.begin(job, self.now, job.kind, job.limit)
            self.at(self.now + min(job.takes, job.limit), "end", (pod, job))

    def _leave_handler(self, pod: Pod, job: Job) -> None:
        del pod.running[job]
        pod.lasting.end(job, self.now)
        self._running_since -= job.begun[-1]
        self._busy += self.now - job.begun[-1]


def follow(
    world: World,
    jobs: Sequence[Job],
    scaler: Scaler,
    *,
    prefetch: int = 0,
    takeable: bool = True,
    seed: int = 0,
    until: float | None = None,
    kind: type[Fleet] = Fleet,
) -> Followed:
    """Run `scaler` until all jobs have ended. prefetch: 0 is twice the concurrency. takeable: as in `Fleet.observe`.

    Ends after a thousand times the longest job and a day more, whatever is left then: `Job.ended` tells. until: seconds at which
    it ends instead, neither sooner nor later, so that what two policies cost is of the same time.
    """
    fleet = kind(world, prefetch or 2 * world.concurrency, Random(seed))
    for job in jobs:
        fleet.at(job.at, "arrive", job)
    fleet.at(0.0, "ask", None)
    left, ended = len(jobs), 0.0
    last = 86_400.0 + 1000.0 * max((job.takes for job in jobs), default=0.0)
    if until is not None:
        fleet.at(until, "over", None)
    while (left or until is not None) and fleet.now <= (last if until is None else until) and (event := fleet.next()) is not None:
        match event:
            case "over", _:
                break
            case "arrive", Job() as job:
                fleet.arrive(job)
            case "ready", Pod() as pod:
                fleet.ready(pod)
            case "end", (Pod() as pod, Job() as job):
                if fleet.end(pod, job):
                    left, ended = left - 1, fleet.now
            case "give up", Pod() as pod:
                fleet.give_up(pod)
            case _:
                fleet.ask(scaler.ask(fleet.observe(takeable=takeable), fleet.now), cordons=takeable)
                fleet.at(fleet.now + scaler.interval, "ask", None)
    return Followed(jobs, fleet.pod_seconds, fleet.actions, fleet.handed_back, fleet.most, ended, fleet.made, fleet.course)
