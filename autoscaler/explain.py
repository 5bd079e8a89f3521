"""A decision in words, with the numbers that made it; and the alerts that go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.model import UNKNOWN, Alert, AlertKind, Observation, Policy, Reason
from autoscaler.state import State

if TYPE_CHECKING:
    from autoscaler.decide import Draft
    from autoscaler.view import View


def text_of(policy: Policy, seen: Observation, wanted: int, reason: Reason, view: View) -> str:
    """Such as `backlog 48,210, arriving 120/s: 12 → 45 (drain in 60 s at 26 jobs/s a replica, 80 % busy; backlog)`.

    Where each replica takes one delivery: `backlog 3, arriving 0.01/s: 0 → 3 (one for each delivery; wake)`.
    """
    backlog = "backlog unknown" if view.backlog is UNKNOWN else f"backlog {view.backlog:,.0f}"
    ready_alone = "" if view.whole or view.backlog is UNKNOWN else " (ready alone)"
    arriving = "arrivals unknown" if view.arrival is UNKNOWN else f"arriving {_rate(view.arrival)}/s"
    change = f"{seen.asked} → {wanted}" if wanted != seen.asked else f"{seen.asked}"
    how = _how(policy, seen, view)
    return f"{backlog}{ready_alone}, {arriving}: {change} ({how}; {reason})"


def _how(policy: Policy, seen: Observation, view: View) -> str:
    if seen.ends_itself:  # neither a drain target nor a replica's speed has a part in it
        return "one for each delivery"
    return f"drain in {policy.drain_target:g} s at {_rate(view.speed)} jobs/s a replica, {policy.utilisation * 100:.0f} % busy"


def _rate(value: float) -> str:
    """Three figures, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def alerts_of(policy: Policy, state: State, seen: Observation, view: View, final: Draft, now: float) -> tuple[Alert, ...]:
    """The alerts of this decision for the operator."""
    alerts = []
    stalled = state.stalled_for(state.startup.expected(policy.startup_seconds), now)
    if (slow := _latency(policy, view, stalled, seen.slow_trace)) is not None:
        alerts.append(slow)
    if stalled and view.backlog is not UNKNOWN:
        alerts.append(
            Alert(AlertKind.STALLED, f"{view.backlog:,.0f} jobs wait, and none has run for {stalled:.0f} s: {_why(seen, view)}")
        )
    if view.backlog is not UNKNOWN and view.backlog > policy.backlog_threshold:
        alerts.append(Alert(AlertKind.BACKLOG, f"backlog {view.backlog:,.0f} is above {policy.backlog_threshold:,.0f} jobs"))
    if view.backlog is UNKNOWN and state.blind_for(now) > policy.blind_limit:  # whatever was decided, also while paused
        alerts.append(Alert(AlertKind.BLIND, f"nothing is known of the queue for more than {policy.blind_limit:g} s"))
    if now < state.saturated_until:
        alerts.append(Alert(AlertKind.SATURATED, f"downstream saturated: {state.saturated_text or 'more replicas bring nothing'}"))
    by_hand = seen.asked > policy.max_replicas >= view.raw
    full = final.reason is Reason.AT_MAX or (final.reason is Reason.BUSY and final.replicas > policy.max_replicas)
    if full and not by_hand:
        alerts.append(Alert(AlertKind.AT_MAX, f"more than max_replicas={policy.max_replicas} are wanted"))
    if seen.unschedulable:
        alerts.append(Alert(AlertKind.UNSCHEDULABLE, seen.unschedulable))
    if state.starting.told(state.startup.expected(policy.startup_seconds), now):
        missing = state.starting.missing_for(now)
        ready = f"{max(0.0, state.starting.ready):.0f} of {seen.asked} replicas are ready"
        why = f". {seen.unready}" if seen.unready else ""
        alerts.append(Alert(AlertKind.NOT_STARTING, f"{ready}, and no other has become so for {missing:.0f} s{why}"))
    return tuple(alerts)


def _why(seen: Observation, view: View) -> str:
    """Why no replica works on the backlog, as far as that is known."""
    if view.paused:
        return "consumers take nothing, since they could not record outcomes: the outcome store is away"
    ready = "0" if view.ready is UNKNOWN else f"{view.ready:.0f}"
    return f"{ready} of {seen.asked} replicas are ready" + (f". {seen.unready}" if seen.unready else "")


def _latency(policy: Policy, view: View, stalled: float, trace_id: str) -> Alert | None:
    """stalled: seconds for which nothing has run. Latencies are of jobs that end: while none does, what waits grows older."""
    wait, handler = view.wait, view.handler
    if stalled > policy.latency_threshold:
        return Alert(AlertKind.LATENCY, f"jobs have waited for {stalled:.0f} s or longer, above {policy.latency_threshold:g} s")
    if wait is UNKNOWN or handler is UNKNOWN or wait + handler <= policy.latency_threshold:
        return None
    slower = "waiting" if wait > handler else "the handler"
    text = (
        f"mean latency {wait + handler:.1f} s is above {policy.latency_threshold:g} s: "
        f"{wait:.1f} s waiting, {handler:.1f} s in the handler; {slower} is what is slow"
    )
    return Alert(AlertKind.LATENCY, text, trace_id)
