"""The figures of one moment, as far as they are fresh, and what they ask for."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from autoscaler.model import UNKNOWN, Figure, Observation, Policy, Seen, Unknown
from autoscaler.state import NEVER, State
from autoscaler.window import RATE_SECONDS, Rate


class View(NamedTuple):
    """The figures of one moment, as far as they are fresh.

    backlog: ready + unacked, or ready alone where `whole` is False (jobs).
    waiting: those that are in no handler. excess: those of them that are more than slack.
    empty: it is certain that there is nothing: no job in the queue, none at a consumer, none in a handler.
    arrival: jobs/s when a replica asked for now would be ready. speed: of a replica that is as busy as it should be, jobs/s.
    raw: replicas that these figures ask for, not rounded. settled: so many that no fewer are wanted, with the tolerance.
    ready: replicas. wait, handler: mean seconds.
    """

    backlog: float | Unknown
    waiting: float
    excess: float
    whole: bool
    empty: bool
    arrival: float | Unknown
    speed: float
    raw: float
    settled: int
    ready: float | Unknown
    wait: float | Unknown
    handler: float | Unknown


def learn(policy: Policy, state: State, seen: Observation, now: float) -> State:
    """The state with what this observation teaches.

    Arrivals are followed as fast as the drain target asks: who may let a backlog stand for a minute need not follow each peak.
    """
    arrivals, derived = _arrivals(state, seen, max(RATE_SECONDS, policy.drain_target / 2))
    completions = state.completions.next(seen.completed)
    passed = arrivals.counted_since(state.arrivals) or completions.counted_since(state.completions)
    return state._replace(
        arrivals=arrivals,
        derived=derived,
        completions=completions,
        progress=state.progress.next(seen.done),
        service=state.service.next(seen.completed, seen.busy_seconds),
        startup=state.startup.next(seen.asked, seen.ready, now),
        idle_since=None if passed else state.idle_since,  # a job that came and went between two looks
    )


def _arrivals(state: State, seen: Observation, follow: float) -> tuple[Rate, bool]:
    """The rate of arrivals, and whether it is derived. Two counters are never differenced with one another."""
    derived = seen.published is UNKNOWN
    published = _published(seen) if derived else seen.published
    if published is UNKNOWN:
        derived = state.derived
    began_anew = derived and seen.completed is not UNKNOWN and seen.completed.value < state.completions.total
    base = state.arrivals._replace(at=NEVER) if began_anew or derived is not state.derived else state.arrivals
    return base.next(published, follow=follow, noisy=derived), derived


def _published(seen: Observation) -> Seen:
    """What was ever published, where the broker does not tell: what has ended, and what is still there."""
    if seen.completed is UNKNOWN or seen.ready_jobs is UNKNOWN or seen.unacked is UNKNOWN:
        return UNKNOWN
    parts = (seen.completed, seen.ready_jobs, seen.unacked)
    return Figure(sum(part.value for part in parts), min(part.at for part in parts))


def view_of(policy: Policy, state: State, seen: Observation, now: float) -> View:
    oldest = now - policy.freshness
    ready_jobs, unacked, in_flight = fresh(seen.ready_jobs, oldest), fresh(seen.unacked, oldest), fresh(seen.in_flight, oldest)
    wait, handler = fresh(seen.wait_mean, oldest), fresh(seen.handler_mean, oldest)
    arrivals = state.arrivals
    arrival = (
        arrivals.forecast(state.startup.expected(policy.startup_seconds)) if arrivals.known and arrivals.at >= oldest else UNKNOWN
    )
    speed = policy.concurrency / state.service.mean(policy.service_seconds)
    ready = fresh(seen.ready, oldest)
    if ready_jobs is UNKNOWN:
        return View(UNKNOWN, 0.0, 0.0, False, False, arrival, speed, 0.0, seen.asked, ready, wait, handler)
    waiting = ready_jobs + _held(policy, unacked, in_flight, ready)
    rate = 0.0 if arrival is UNKNOWN else arrival
    excess = max(0.0, waiting - rate * policy.slack_seconds)
    raw = (rate + excess / policy.drain_target) / (speed * policy.utilisation)
    settled = max(1, ceil(raw * (1.0 + policy.tolerance)))
    if unacked is UNKNOWN or arrival is UNKNOWN:
        settled = max(settled, seen.asked)  # what is half seen proves no surplus, now or in the window to come
    whole = unacked is not UNKNOWN
    backlog = ready_jobs if unacked is UNKNOWN else ready_jobs + unacked
    empty = whole and backlog == 0 and in_flight == 0
    return View(backlog, waiting, excess, whole, empty, arrival, speed, raw, settled, ready, wait, handler)


def fresh(figure: Seen, oldest: float) -> float | Unknown:
    return UNKNOWN if figure is UNKNOWN or figure.at < oldest else figure.value


def _held(policy: Policy, unacked: float | Unknown, in_flight: float | Unknown, ready: float | Unknown) -> float:
    """Unacked jobs that are in no handler: taken ahead, and waiting like those in the queue."""
    if unacked is UNKNOWN:
        return 0.0
    if in_flight is not UNKNOWN:
        return max(0.0, unacked - in_flight)
    return max(0.0, unacked - ready * policy.concurrency) if ready is not UNKNOWN else 0.0
