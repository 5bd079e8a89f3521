"""The no-progress guard: more replicas were added, and throughput did not follow. Something behind them is saturated."""

from __future__ import annotations

from autoscaler.model import UNKNOWN, Policy
from autoscaler.state import NEVER, Guard, State
from autoscaler.view import View


def watch_progress(policy: Policy, state: State, view: View, growing: bool, now: float) -> State:
    """The state with the guard's word. It judges for the next decision, so that this one depends on its own figures alone."""
    guard = state.guard
    if view.ready is UNKNOWN or view.backlog is UNKNOWN:
        return state
    if view.waiting <= 0:  # work ran out: throughput is what arrives, and proves nothing
        return state._replace(guard=None, saturated_until=NEVER) if guard or now < state.saturated_until else state
    if guard is None:
        return (
            state._replace(guard=Guard(view.ready, state.completions.level)) if growing and now >= state.saturated_until else state
        )
    if guard.grown_at == NEVER:
        return state._replace(guard=guard._replace(grown_at=now)) if view.ready > guard.ready else state
    if now - guard.grown_at < policy.guard_seconds:
        return state
    return _judge(policy, state, guard, view.ready, now)


# Throughput must have grown by a quarter of what so many more replicas would bring, if nothing else were in their way.
_LEAST_GAIN = 0.25


def _judge(policy: Policy, state: State, guard: Guard, ready: float, now: float) -> State:
    hoped = ready / max(guard.ready, 1.0) - 1.0
    throughput = state.completions.level
    gained = throughput / guard.throughput - 1.0 if guard.throughput > 0 else (1.0 if throughput > 0 else 0.0)
    if hoped <= 0 or gained >= _LEAST_GAIN * hoped:
        return state._replace(guard=None)
    text = f"{guard.ready:.0f} → {ready:.0f} replicas brought {guard.throughput:,.1f} → {throughput:,.1f} jobs/s"
    return state._replace(guard=None, saturated_until=now + policy.guard_retry, saturated_text=text)
