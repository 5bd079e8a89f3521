"""The decision: how many replicas a queue's consumers should have, and why. One pure function.

    wanted = ceil((arrivals + max(0, waiting - slack) / drain target) / (a replica's speed * utilisation))

for short jobs, with the arrivals of the moment at which a replica that is asked for now would be ready (`view.py` has the whole
of it), and never less than the threshold rules, the schedule and the bounds ask for. No replica is taken away in which a run
would outlast its drain. An unknown figure is never taken for 0.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from autoscaler.explain import alerts_of, text_of
from autoscaler.guard import held_back, watch_progress
from autoscaler.model import UNKNOWN, Decision, Observation, Pause, Policy, Reason
from autoscaler.schedule import floor_at
from autoscaler.state import NEVER, State
from autoscaler.view import View, learn, view_of
from autoscaler.window import Peaks, peak_of

# The lower number must have been desired for the time of this number of jobs, too, up to a minute: with longer jobs, the number
# that run at any moment varies by a few.
_JOBS_HELD, _HELD_AT_MOST = 3.0, 60.0
# A job that waits, and takes this many times as long as a backlog may last, is not to wait for the tolerance's sake.
_LONG = 6.0


class Draft(NamedTuple):
    replicas: int
    reason: Reason


class Fewer(NamedTuple):
    """peak: replicas, the most that was wanted within the last `window` seconds."""

    peak: int
    window: float


def decide(policy: Policy, state: State, seen: Observation, now: float) -> tuple[Decision, State]:
    """Decide for one queue. now: monotonic seconds."""
    state = learn(policy, state, seen, now)
    view = view_of(policy, state, seen, now)
    low = max(policy.min_replicas, floor_at(policy.floors, seen.wall))
    # A replica that would be removed before it has started was requested in vain.
    startup, job = state.startup.expected(policy.startup_seconds), state.service.mean(policy.service_seconds)
    window = max(policy.down_window, startup, min(_JOBS_HELD * job, _HELD_AT_MOST))
    peak, peaks = peak_of(state.peaks, view.settled, now, window)
    final = _bounded(policy, _draft(policy, state, view, seen, now, low, Fewer(peak, window)), seen, low, view.takeable)
    decision = Decision(
        final.replicas,
        final.reason,
        text_of(policy, seen, final.replicas, final.reason, view),
        view.backlog,
        view.arrival,
        view.speed,
        alerts_of(policy, state, seen, view, final, now),
    )
    return decision, _remember(policy, state, view, seen, peaks, decision.replicas, now)


def _draft(policy: Policy, state: State, view: View, seen: Observation, now: float, low: int, fewer: Fewer) -> Draft:
    """The desired replicas, before bounds."""
    asked = seen.asked
    if seen.pause is Pause.ALL:
        return Draft(asked, Reason.PAUSED)
    if view.backlog is UNKNOWN:
        if state.blind_for(now) > policy.blind_limit:
            return Draft(max(asked, policy.fallback_replicas), Reason.FALLBACK)
        return Draft(asked, Reason.BLIND)
    if asked == 0:
        return Draft(max(1, ceil(view.raw)), Reason.WAKE) if view.backlog > 0 else Draft(0, Reason.STEADY)
    if low == 0 and view.empty and _idle(policy, state, now):
        return Draft(0, Reason.IDLE)
    return _more(policy, state, view, seen, now) or _fewer(policy, state, view, asked, fewer, now)


def _idle(policy: Policy, state: State, now: float) -> bool:
    return state.idle_since is not None and now - state.idle_since >= policy.idle_seconds and now >= state.settled_at


def _more(policy: Policy, state: State, view: View, seen: Observation, now: float) -> Draft | None:
    """More than runs, by the formula or, where that asks for less, by a threshold rule; held where more have brought nothing."""
    asked = seen.asked
    tolerance = 0.0 if view.excess > 0 and view.job > _LONG * policy.drain_target else policy.tolerance
    draft = Draft(ceil(view.raw), Reason.BACKLOG) if ceil(view.raw) > asked and view.raw > asked * (1.0 + tolerance) else None
    if (rule := _threshold(policy, state, view, seen, now)) is not None:
        step = asked + max(1, int(asked * policy.threshold_step))
        if draft is None or draft.replicas < step:  # never fewer for a backlog of which the formula just asks for a little more
            draft = Draft(step, rule)
    if draft is None:
        return None
    if view.paused:
        return Draft(asked, Reason.STORE_AWAY)
    if (held := held_back(policy, state, view, asked, draft.replicas, now)) is not None:
        return Draft(held, Reason.NO_PROGRESS if held <= asked else draft.reason)
    return draft if draft.replicas <= view.most else Draft(int(view.most), Reason.NOT_STARTING)


def _threshold(policy: Policy, state: State, view: View, seen: Observation, now: float) -> Reason | None:
    """The rule that asks for a step whatever the formula does: the backlog does not fall, so the formula is wrong.

    Not while what was added last may still be starting, and not by a reading that the last decision had already. Where no more
    waits than the slack, a long wait is one of the past: latencies are of the last half minute.
    """
    if view.backlog is UNKNOWN or view.backlog < state.backlog or view.excess <= 0 or seen.ready_jobs is UNKNOWN:
        return None
    if seen.ready_jobs.at <= state.backlog_at or state.backlog_at == NEVER:
        return None
    if now - state.step_at < max(policy.threshold_cooldown, state.startup.expected(policy.startup_seconds)):
        return None
    if view.backlog > policy.backlog_threshold:
        return Reason.BACKLOG_THRESHOLD
    if view.wait is UNKNOWN or view.handler is UNKNOWN or view.wait + view.handler <= policy.latency_threshold:
        return None
    return Reason.LATENCY_THRESHOLD if view.wait > view.handler else None


def _fewer(policy: Policy, state: State, view: View, asked: int, fewer: Fewer, now: float) -> Draft:
    """Fewer than runs, if that is certain, has been so for the whole window, and a step at a time."""
    if view.arrival is UNKNOWN or not view.sure:
        return Draft(asked, Reason.BLIND)
    if view.settled >= asked:
        return Draft(asked, Reason.STEADY)
    if now < state.settled_at:
        return Draft(asked, Reason.SETTLING)
    if fewer.peak >= asked or now - state.step_at < fewer.window:  # a rule's step is in no peak
        return Draft(asked, Reason.WINDOW)
    if now - state.down_at < policy.down_cooldown:
        return Draft(asked, Reason.COOLDOWN)
    step = max(fewer.peak, min(asked - 1, ceil(asked * (1.0 - policy.step_down))), asked - view.takeable)
    return Draft(step, Reason.SURPLUS) if step < asked else Draft(asked, Reason.BUSY)


def _bounded(policy: Policy, draft: Draft, seen: Observation, low: int, takeable: int) -> Draft:
    """Within what is allowed: step limit, minimum and schedule, maximum, and what an operator has forbidden."""
    asked, (wanted, reason) = seen.asked, draft
    if reason is Reason.PAUSED:
        return draft
    furthest = max(ceil(asked * policy.step_up), asked + policy.step_up_replicas)
    if wanted > furthest:
        wanted, reason = furthest, Reason.STEP
    if wanted < low:
        wanted, reason = low, Reason.FLOOR if low > policy.min_replicas else Reason.AT_MIN
    if wanted > policy.max_replicas:
        # Of replicas above the maximum, which an operator has lowered or gone beyond, those stay that would lose a run.
        wanted = max(policy.max_replicas, seen.asked - takeable)
        reason = Reason.AT_MAX if wanted == policy.max_replicas else Reason.BUSY
    if (wanted < asked and seen.pause is Pause.IN) or (wanted > asked and seen.pause is Pause.OUT):
        return Draft(asked, Reason.PAUSED)
    return Draft(wanted, reason)


def _remember(policy: Policy, state: State, view: View, seen: Observation, peaks: Peaks, replicas: int, now: float) -> State:
    """The state that the next decision needs of this one."""
    backlog, backlog_at = state.backlog, state.backlog_at
    if view.backlog is not UNKNOWN and seen.ready_jobs is not UNKNOWN:
        backlog, backlog_at = view.backlog, seen.ready_jobs.at
    state = state._replace(
        peaks=peaks,
        blind_since=_since(state.blind_since, now, holds=view.backlog is UNKNOWN),
        idle_since=_since(state.idle_since, now, holds=view.empty),
        stalled_since=_since(state.stalled_since, now, holds=view.stalled),
        backlog=backlog,
        backlog_at=backlog_at,
        down_at=now if replicas < seen.asked else state.down_at,
        step_at=now if replicas > seen.asked else state.step_at,
    )
    return watch_progress(policy, state, view, seen.asked, replicas, now)


def _since(before: float | None, now: float, *, holds: bool) -> float | None:
    """When that which holds now began; None where it does not hold. before: the same of the last decision."""
    return (now if before is None else before) if holds else None
