"""The decision: how many replicas a queue's consumers should have, and why. One pure function.

    wanted = ceil((arrivals at now + start-up + max(0, waiting - slack) / drain target) / (a replica's speed * utilisation))

and never less than the threshold rules, the schedule and the bounds ask for. What is not known is never taken for 0.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from autoscaler.explain import alerts_of, text_of
from autoscaler.guard import watch_progress
from autoscaler.model import UNKNOWN, Decision, Observation, Pause, Policy, Reason
from autoscaler.schedule import floor_at
from autoscaler.state import State
from autoscaler.view import View, fresh, learn, view_of
from autoscaler.window import peak_of


class Draft(NamedTuple):
    replicas: int
    reason: Reason


def decide(policy: Policy, state: State, seen: Observation, now: float) -> tuple[Decision, State]:
    """Decide for one queue. now: monotonic seconds."""
    state = learn(state, seen, now)
    view = view_of(policy, state, seen, now)
    low = max(policy.min_replicas, floor_at(policy.floors, seen.wall))
    state, draft = _draft(policy, state, view, seen, now, low)
    final = _bounded(policy, draft, seen, low)
    decision = Decision(
        final.replicas,
        final.reason,
        text_of(policy, seen.asked, final.replicas, final.reason, view),
        view.backlog,
        view.arrival,
        view.speed,
        alerts_of(policy, state, seen, view, final, now),
    )
    return decision, _remember(policy, state, view, seen.asked, decision, now)


def _draft(policy: Policy, state: State, view: View, seen: Observation, now: float, low: int) -> tuple[State, Draft]:
    """What is wanted, before bounds; and the state with today's peak noted."""
    asked = seen.asked
    if seen.pause is Pause.ALL:
        return state, Draft(asked, Reason.PAUSED)
    if view.backlog is UNKNOWN:
        blind_for = 0.0 if state.blind_since is None else now - state.blind_since
        if blind_for > policy.blind_limit:
            return state, Draft(max(asked, policy.fallback_replicas), Reason.FALLBACK)
        return state, Draft(asked, Reason.BLIND)
    settled = max(1, ceil(view.raw * (1.0 + policy.tolerance)))
    peak, peaks = peak_of(state.peaks, settled, now, policy.down_window)
    state = state._replace(peaks=peaks)
    if asked == 0:
        return state, Draft(max(1, ceil(view.raw)), Reason.WAKE) if view.backlog > 0 else Draft(0, Reason.STEADY)
    if low == 0 and view.empty and state.idle_since is not None and now - state.idle_since >= policy.idle_seconds:
        return state, Draft(0, Reason.IDLE)
    return state, _more(policy, state, view, seen, now) or _fewer(policy, state, view, asked, settled, peak, now)


def _more(policy: Policy, state: State, view: View, seen: Observation, now: float) -> Draft | None:
    """More than runs, by the formula or by a threshold rule; held where more have brought nothing."""
    asked = seen.asked
    draft = None
    if view.raw > asked * (1.0 + policy.tolerance):
        draft = Draft(ceil(view.raw), Reason.BACKLOG)
    elif now - state.step_at >= policy.threshold_cooldown and (rule := _threshold(policy, state, view, seen, now)) is not None:
        draft = Draft(asked + max(1, int(asked * policy.threshold_step)), rule)
    if draft is not None and now < state.saturated_until:
        return Draft(asked, Reason.NO_PROGRESS)
    return draft


def _threshold(policy: Policy, state: State, view: View, seen: Observation, now: float) -> Reason | None:
    """The rule that asks for a step although the formula does not: the backlog does not fall, so the formula is wrong."""
    if view.backlog is UNKNOWN or view.backlog < state.backlog or view.waiting <= 0:
        return None
    if view.backlog > policy.backlog_threshold:
        return Reason.BACKLOG_THRESHOLD
    oldest = now - policy.freshness
    wait, handler = fresh(seen.wait_mean, oldest), fresh(seen.handler_mean, oldest)
    if wait is UNKNOWN or handler is UNKNOWN or wait + handler <= policy.latency_threshold or wait <= handler:
        return None
    return Reason.LATENCY_THRESHOLD


def _fewer(policy: Policy, state: State, view: View, asked: int, settled: int, peak: int, now: float) -> Draft:
    """Fewer than runs, if that is certain, has been so for the whole window, and a step at a time."""
    if settled >= asked:
        return Draft(asked, Reason.STEADY)
    if view.arrival is UNKNOWN or not view.whole:
        return Draft(asked, Reason.BLIND)
    if now < state.settled_at:
        return Draft(asked, Reason.SETTLING)
    if peak >= asked:
        return Draft(asked, Reason.WINDOW)
    if now - state.down_at < policy.down_cooldown:
        return Draft(asked, Reason.COOLDOWN)
    step = max(peak, min(asked - 1, ceil(asked * (1.0 - policy.step_down))))
    return Draft(step, Reason.SURPLUS)


def _bounded(policy: Policy, draft: Draft, seen: Observation, low: int) -> Draft:
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
        wanted, reason = policy.max_replicas, Reason.AT_MAX
    if (wanted < asked and seen.pause is Pause.IN) or (wanted > asked and seen.pause is Pause.OUT):
        return Draft(asked, Reason.PAUSED)
    return Draft(wanted, reason)


_STEPS = (Reason.BACKLOG_THRESHOLD, Reason.LATENCY_THRESHOLD)


def _remember(policy: Policy, state: State, view: View, asked: int, decision: Decision, now: float) -> State:
    """What the next decision has to know of this one."""
    blind, empty, shrinking = view.backlog is UNKNOWN, view.empty, decision.replicas < asked
    stepped = decision.reason in _STEPS and decision.replicas > asked
    state = state._replace(
        blind_since=(now if state.blind_since is None else state.blind_since) if blind else None,
        idle_since=(now if state.idle_since is None else state.idle_since) if empty else None,
        backlog=state.backlog if view.backlog is UNKNOWN else view.backlog,
        down_at=now if shrinking else state.down_at,
        step_at=now if stepped else state.step_at,
    )
    return watch_progress(policy, state, view, decision.replicas > asked, now)
