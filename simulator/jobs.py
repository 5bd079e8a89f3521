"""The second engine for replicas that take one job and end with it: batch/v1 Jobs, or processes with `--once`."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from autoscaler.model import Figure, Observation
from simulator.discrete import Fleet, Job, Pod
from simulator.world import World

# Seconds: how long one waits for a job, and for how long one that has run it is still counted as asked for.
_WAITS, _LINGERS = 10.0, 2.0


class OnePerJob(Fleet):
    """One queue, and a replica for each of its jobs. `ask` never takes one away."""

    def __init__(self, world: World, prefetch: int, rng: Random) -> None:
        """prefetch: at most 1 is held."""
        super().__init__(world, min(prefetch, 1), rng)

    def next(self) -> tuple[str, object] | None:
        """Ends of replicas do not matter to the caller."""
        while (event := super().next()) is not None:
            what, about = event
            if what != "leave" or not isinstance(about, Pod):
                return event
            if not about.running and about in self.pods:
                self._take_from(about)
                self.pods.remove(about)
                self.asked = len(self.pods)
        return None

    def ready(self, pod: Pod) -> None:
        self.at(self.now + _WAITS, "leave", pod)
        super().ready(pod)

    def end(self, pod: Pod, job: Job) -> bool:
        self._take_from(pod)
        self.at(self.now + _LINGERS, "leave", pod)
        return super().end(pod, job)

    def ask(self, replicas: int, *, cordons: bool) -> None:  # noqa: ARG002 - there is no replica to cordon
        self.asked = len(self.pods)
        super().ask(max(replicas, self.asked), cordons=False)

    def observe(self, *, takeable: bool) -> Observation:
        """takeable: whatever they tell, none is."""
        return replace(super().observe(takeable=takeable), takeable=Figure(0, self.now), ends_itself=True)
