"""The figures of one moment, as far as they are fresh, and what they ask for."""

from __future__ import annotations

from typing import NamedTuple

from autoscaler.model import UNKNOWN, Figure, Observation, Policy, Seen, Unknown
from autoscaler.state import State


class View(NamedTuple):
    """The figures of one moment, as far as they are fresh.

    backlog: ready + unacked, or ready alone where `whole` is False (jobs). waiting: those that are in no handler.
    arrival: jobs/s when a replica asked for now would be ready. speed: of a replica that is as busy as it should be, jobs/s.
    raw: replicas that these figures ask for, not rounded. ready: replicas.
    """

    backlog: float | Unknown
    waiting: float
    whole: bool
    in_flight: float | Unknown
    arrival: float | Unknown
    speed: float
    raw: float
    ready: float | Unknown

    @property
    def empty(self) -> bool:
        """Whether it is certain that there is nothing: no job in the queue, none at a consumer, none in a handler."""
        return self.whole and self.backlog == 0 and self.in_flight == 0


def learn(state: State, seen: Observation, now: float) -> State:
    """The state with what this observation teaches."""
    published, derived = (_published(seen), True) if seen.published is UNKNOWN else (seen.published, False)
    if published is UNKNOWN:
        derived = state.derived
    arrivals = state.arrivals if derived == state.derived else state.arrivals.anew()
    return state._replace(
        arrivals=arrivals.next(published),
        derived=derived,
        completions=state.completions.next(seen.completed),
        service=state.service.next(seen.completed, seen.busy_seconds),
        startup=state.startup.next(seen.asked, seen.ready, now),
    )


def _published(seen: Observation) -> Seen:
    """What was ever published, where the broker does not tell: what has ended, and what is still there."""
    if seen.completed is UNKNOWN or seen.ready_jobs is UNKNOWN or seen.unacked is UNKNOWN:
        return UNKNOWN
    parts = (seen.completed, seen.ready_jobs, seen.unacked)
    return Figure(sum(part.value for part in parts), min(part.at for part in parts))


def view_of(policy: Policy, state: State, seen: Observation, now: float) -> View:
    oldest = now - policy.freshness
    ready_jobs, unacked, in_flight = (fresh(f, oldest) for f in (seen.ready_jobs, seen.unacked, seen.in_flight))
    arrivals = state.arrivals
    arrival = (
        arrivals.forecast(state.startup.expected(policy.startup_seconds)) if arrivals.known and arrivals.at >= oldest else UNKNOWN
    )
    speed = policy.concurrency / state.service.mean(policy.service_seconds)
    ready = fresh(seen.ready, oldest)
    if ready_jobs is UNKNOWN:
        return View(UNKNOWN, 0.0, False, in_flight, arrival, speed, 0.0, ready)
    waiting = ready_jobs + _held(policy, unacked, in_flight, ready)
    rate = 0.0 if arrival is UNKNOWN else arrival
    excess = max(0.0, waiting - rate * policy.slack_seconds)
    raw = (rate + excess / policy.drain_target) / (speed * policy.utilisation)
    backlog = ready_jobs if unacked is UNKNOWN else ready_jobs + unacked
    return View(backlog, waiting, unacked is not UNKNOWN, in_flight, arrival, speed, raw, ready)


def fresh(figure: Seen, oldest: float) -> float | Unknown:
    return UNKNOWN if figure is UNKNOWN or figure.at < oldest else figure.value


def _held(policy: Policy, unacked: float | Unknown, in_flight: float | Unknown, ready: float | Unknown) -> float:
    """Unacked jobs that are in no handler: taken ahead, and waiting like those in the queue."""
    if unacked is UNKNOWN:
        return 0.0
    if in_flight is not UNKNOWN:
        return max(0.0, unacked - in_flight)
    return max(0.0, unacked - ready * policy.concurrency) if ready is not UNKNOWN else 0.0
