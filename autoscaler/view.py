"""The figures of one moment, as far as they are fresh, and what they ask for."""

from __future__ import annotations

from math import ceil, inf
from typing import NamedTuple

from autoscaler.model import UNKNOWN, Figure, Observation, Policy, Seen, Unknown
from autoscaler.state import NEVER, State
from autoscaler.window import RATE_AT_MOST, RATE_EVENTS, RATE_SECONDS, Rate
from core.returning import SOON_SECONDS

# A job may wait for this part of its own time, and at most for this number of seconds: a job of hours is not to wait for minutes.
_SLACK_OF_A_JOB, _SLACK_AT_MOST = 0.5, 30.0
# Jobs are alike while their 95th percentile is between these multiples of their mean.
_ALIKE = (0.8, 4.0)
# A job may take this multiple of the mean where its 95th percentile is not known.
_LONGER = 1.5


class View(NamedTuple):
    """The figures of one moment, as far as they are fresh.

    backlog: ready + unacked, or ready alone where `whole` is False (jobs).
    waiting: those that are in no handler. excess: those of them that are more than slack.
    sure: whole, and all of it is of looks that were answered: fewer may be decided. A broker that has just died has reported how
    many jobs are ready, and holds none any more that is at a consumer.
    empty: it is certain that there is nothing: no job in the queue, none at a consumer, none in a handler.
    arrival: jobs/s when a replica asked for now would be ready. speed: of a replica that is as busy as it should be, jobs/s.
    raw: replicas that these figures ask for, not rounded. settled: the replicas below which none is desired, with the tolerance.
    ready: replicas. wait, handler: mean seconds. job: seconds that one is expected to take.
    takeable: replicas that may go now: no run of theirs outlasts its drain. most: replicas that may be asked for, while those that
    are missing do not start. paused: no replica takes anything, since none can record outcomes. stalled: jobs wait, replicas were
    asked for, and no job is known to run.
    """

    backlog: float | Unknown
    waiting: float
    excess: float
    whole: bool
    sure: bool
    empty: bool
    arrival: float | Unknown
    speed: float
    raw: float
    settled: int
    ready: float | Unknown
    wait: float | Unknown
    handler: float | Unknown
    job: float
    takeable: int
    most: float
    paused: bool
    stalled: bool


def learn(policy: Policy, state: State, seen: Observation, now: float) -> State:
    """The state with what this observation teaches.

    Arrivals are followed as fast as the drain target asks: a policy that allows a backlog for a minute need not follow each peak.
    No faster than replicas start, since those that are asked for at a peak come after it; nor than a job takes, or a batch is a
    rate; nor than some jobs arrive, or chance is a rate.
    """
    starting = state.starting.next(seen.asked, seen.ready, now)
    startup = state.startup
    if seen.ends_itself:  # those that have ended and those that start are counted together: the time of one is unknown
        starting = starting._replace(lost=False)
    else:
        startup = startup.next(seen.asked, seen.ready, now, policy.startup_seconds, stuck=bool(seen.unschedulable))
    job, lead = state.service.mean(policy.service_seconds), state.startup.expected(policy.startup_seconds)
    oldest = now - policy.freshness
    follow = max(RATE_SECONDS, policy.drain_target / 2, lead / 2, min(job, RATE_AT_MOST))
    arrivals, derived = _arrivals(state, seen, oldest, follow)
    completions = state.completions.next(seen.completed, follow=max(RATE_SECONDS, job))
    passed = arrivals.counted_since(state.arrivals) or completions.counted_since(state.completions)
    return state._replace(
        arrivals=arrivals,
        derived=derived,
        returns=state.returns.next(seen.returned, follow=follow, events=RATE_EVENTS),
        completions=completions,
        progress=state.progress.next(seen.done, follow=max(RATE_SECONDS, job)),
        service=state.service.next(seen.completed, seen.busy_seconds),
        startup=startup,
        starting=starting,
        idle_since=None if passed else state.idle_since,  # a job that came and went between two looks
        stalled_since=None if completions.counted_since(state.completions) else state.stalled_since,
    )


def _arrivals(state: State, seen: Observation, oldest: float, follow: float) -> tuple[Rate, bool]:
    """The rate of arrivals, and whether it is derived, as it is where the broker does not tell, or no longer.

    Two counters are never differenced with one another.
    """
    derived = seen.published is UNKNOWN or seen.published.at < oldest
    published = _published(seen) if derived else seen.published
    if published is UNKNOWN:
        derived = state.derived
    began_anew = derived and seen.completed is not UNKNOWN and seen.completed.value < state.completions.total
    base = state.arrivals._replace(at=NEVER) if began_anew or derived is not state.derived else state.arrivals
    return base.next(published, follow=follow, events=RATE_EVENTS, noisy=derived), derived


def _published(seen: Observation) -> Seen:
    """The number of jobs ever published, where the broker does not report it: those that have ended, and those still there."""
    if seen.completed is UNKNOWN or seen.ready_jobs is UNKNOWN or seen.unacked is UNKNOWN:
        return UNKNOWN
    parts = (seen.completed, seen.ready_jobs, seen.unacked)
    return Figure(sum(part.value for part in parts), min(part.at for part in parts))


def view_of(policy: Policy, state: State, seen: Observation, now: float) -> View:
    oldest = now - policy.freshness
    ready_jobs, unacked, in_flight = fresh(seen.ready_jobs, oldest), fresh(seen.unacked, oldest), fresh(seen.in_flight, oldest)
    wait, handler = fresh(seen.wait_mean, oldest), fresh(seen.handler_mean, oldest)
    arrivals, lead = state.arrivals, state.startup.expected(policy.startup_seconds)
    arrival = arrivals.forecast(lead) if arrivals.known and arrivals.at >= oldest else UNKNOWN
    if arrival is not UNKNOWN and not state.derived and state.returns.known:  # what is derived has them in it
        arrival += state.returns.forecast(lead)
    job = state.service.mean(policy.service_seconds, in_flight)
    speed = policy.concurrency / job
    ready = fresh(seen.ready, oldest)
    told = fresh(seen.paused, oldest)
    paused = told is not UNKNOWN and told > 0
    stalled = ready_jobs is not UNKNOWN and ready_jobs > 0 and _stalled(state, seen, ready_jobs, in_flight)
    how = (wait, handler, job, _takeable(policy, seen, now, job), state.starting.most(policy, lead, now), paused, stalled)
    if ready_jobs is UNKNOWN:
        return View(UNKNOWN, 0.0, 0.0, False, False, False, arrival, speed, 0.0, seen.asked, ready, *how)
    waiting = ready_jobs + _held(policy, unacked, in_flight, ready)
    rate = 0.0 if arrival is UNKNOWN else arrival
    returning = _returning(fresh(seen.due_soon, oldest), rate, lead)
    patience = job if _alike(job, fresh(seen.handler_p95, oldest)) else 0.0
    excess = max(0.0, waiting - rate * _slack(policy, patience)) + returning
    horizon = max(policy.drain_target, lead)
    running = rate * job if in_flight is UNKNOWN else _running(in_flight, fresh(seen.ending, oldest), rate * job)
    wanted = _wanted(policy, rate, excess, running, job, horizon) / _utilisation(policy, patience)
    backlog = ready_jobs if unacked is UNKNOWN else ready_jobs + unacked
    elsewhere = 0.0 if in_flight is UNKNOWN else in_flight - running
    filled = inf if unacked is UNKNOWN else _filled(policy, backlog - elsewhere + returning, rate * max(lead, 1.0))
    raw = min(wanted, filled)
    settled = max(1, ceil(min(wanted * (1.0 + policy.tolerance), filled)))
    if seen.ends_itself:  # one for each job that is there: for those to come it would wait in vain, or end before
        raw = ready_jobs + _or(unacked, _or(ready, 0.0))
        settled = max(1, ceil(raw))
    whole = unacked is not UNKNOWN
    sure = whole and (seen.silent_at is None or seen.silent_at < oldest)
    if not sure or arrival is UNKNOWN:
        settled = max(settled, seen.asked)  # what is half seen proves no surplus, now or in the window to come
    empty = sure and backlog == 0 and in_flight == 0
    return View(backlog, waiting, excess, whole, sure, empty, arrival, speed, raw, settled, ready, *how)


def _stalled(state: State, seen: Observation, ready_jobs: float, in_flight: float | Unknown) -> bool:
    """Whether no replica works on the backlog. Where none reports its runs, a backlog that falls shows that some replica does; and
    one that ends with its job has ended before the next poll."""
    if seen.asked == 0 or seen.ends_itself:
        return False
    return ready_jobs >= state.backlog if in_flight is UNKNOWN else in_flight == 0


def _wanted(policy: Policy, rate: float, excess: float, in_flight: float, job: float, horizon: float) -> float:
    """Replicas, not rounded, whose slots are busy for all of the next `horizon` seconds with what is to be done then.

    Of each job that waits, its whole time, or the horizon where it takes longer. Of what arrives, as much as falls into the
    horizon, if it comes evenly; of what runs, what is left of it, if its jobs began evenly. Short jobs: the rate, and the backlog
    over the horizon, by the speed of a replica. Jobs longer than the horizon: a slot for each.
    """
    inside = min(job, horizon)
    arriving = rate * inside * (horizon - inside / 2.0)
    running = in_flight * inside * (1.0 - inside / (2.0 * job))
    return (arriving + running + excess * inside) / (horizon * policy.concurrency)


def _alike(job: float, p95: float | Unknown) -> bool:
    """Whether jobs take about as long as each other: of a mixture, short ones must not wait as if they were long.

    The 95th percentile is the mean where all are equal, and 3 times the mean where they are exponential.
    """
    return p95 is UNKNOWN or _ALIKE[0] * job <= p95 <= _ALIKE[1] * job


def _slack(policy: Policy, patience: float) -> float:
    """Seconds of arrivals that may wait: half a job's own time, where that is more than the policy's slack, up to half a minute.

    patience: seconds, how long jobs take; 0 where they differ.
    """
    return max(policy.slack_seconds, min(_SLACK_OF_A_JOB * patience, _SLACK_AT_MOST))


def _utilisation(policy: Policy, patience: float) -> float:
    """The policy's, for jobs that are done within the drain target; of longer ones the head-room becomes less.

    Free slots are kept for jobs that come together by chance. Where a job may wait for a part of its own time, one of those that
    run ends before that: with 16 slots that are busy and 4 free ones, jobs of 10 s wait for 0.4 s in the mean (discrete engine).
    """
    return 1.0 - (1.0 - policy.utilisation) * policy.drain_target / max(patience, policy.drain_target)


def _returning(due_soon: float | Unknown, rate: float, lead: float) -> float:
    """Retries that will be there when a replica asked for now is ready, beyond what arrives anyway."""
    within = min(lead, SOON_SECONDS)
    return 0.0 if due_soon is UNKNOWN else max(0.0, due_soon * within / SOON_SECONDS - rate * within)


def _running(in_flight: float, ending: float | Unknown, lasting: float) -> float:
    """Running jobs that need a replica which stays. lasting: as many as run at any moment if the arrivals go on.

    The jobs of a replica that is on its way out are followed, at these arrivals, by as many in those that stay; without arrivals
    they are followed by none.
    """
    return in_flight if ending is UNKNOWN else max(in_flight - ending, min(in_flight, lasting))


def _filled(policy: Policy, jobs: float, coming: float) -> float:
    """The replicas that all jobs which are there, and those that come while one starts, could fill: more would stand idle."""
    return (jobs + coming / policy.utilisation) / policy.concurrency


def _takeable(policy: Policy, seen: Observation, now: float, job: float) -> int:
    """Replicas that may go now, at most all.

    Consumers tell it of their own runs. Where they do not, jobs are taken to be like those before: of what may outlast the drain
    each may be alone in its replica, so that the replicas that are surely idle are those in excess of the jobs.
    """
    told = fresh(seen.takeable, now - policy.freshness / 2)  # who is idle may be so no longer
    if told is not UNKNOWN:
        return min(seen.asked, int(told))
    oldest = now - policy.freshness
    in_flight, p95 = fresh(seen.in_flight, oldest), fresh(seen.handler_p95, oldest)
    if max(_LONGER * job, 0.0 if p95 is UNKNOWN else p95) <= policy.drain_seconds:
        return seen.asked
    return 0 if in_flight is UNKNOWN else max(0, seen.asked - ceil(in_flight))


def fresh(figure: Seen, oldest: float) -> float | Unknown:
    return UNKNOWN if figure is UNKNOWN or figure.at < oldest else figure.value


def _or(figure: float | Unknown, other: float) -> float:
    return other if figure is UNKNOWN else figure


def _held(policy: Policy, unacked: float | Unknown, in_flight: float | Unknown, ready: float | Unknown) -> float:
    """Unacked jobs that are in no handler: taken ahead, and waiting like those in the queue."""
    if unacked is UNKNOWN:
        return 0.0
    if in_flight is not UNKNOWN:
        return max(0.0, unacked - in_flight)
    return max(0.0, unacked - ready * policy.concurrency) if ready is not UNKNOWN else 0.0
