"""The no-progress guard: more replicas were added, and throughput did not follow. Something behind them is saturated."""

from __future__ import annotations

from math import inf

from autoscaler.model import UNKNOWN, Policy
from autoscaler.state import NEVER, Guard, State
from autoscaler.view import View


def watch_progress(policy: Policy, state: State, view: View, growing: bool, now: float) -> State:
    """The state with the guard's word. It judges for the next decision, so that this one depends on its own figures alone."""
    guard = state.guard
    if view.ready is UNKNOWN or view.backlog is UNKNOWN:
        return state
    if view.excess <= 0:  # work ran out: throughput is what arrives, and proves nothing
        return state._replace(guard=None, saturated_until=NEVER) if guard or now < state.saturated_until else state
    if not state.throughput.known or state.throughput.at < now - policy.freshness:  # throughput is unknown: it is not 0
        return state._replace(guard=None) if guard else state
    if guard is None:
        starts = growing and now >= state.saturated_until
        return state._replace(guard=Guard(view.ready, state.throughput.level)) if starts else state
    if guard.grown_at == NEVER and view.ready <= guard.ready:
        return state
    since = now if guard.grown_at == NEVER else guard.grown_at
    guard = guard._replace(grown_at=since, grown=guard.grown + view.ready, looks=guard.looks + 1)
    if now - since < max(policy.guard_seconds, _LEAST_JOBS * policy.concurrency / view.speed):
        return state._replace(guard=guard)
    return _judge(policy, state, guard, view.ready, now)


# Throughput must have grown by a quarter of what so many more replicas would bring, if nothing else were in their way.
_LEAST_GAIN = 0.25
# Nobody can tell before new replicas have had the time for so many jobs one after the other.
_LEAST_JOBS = 3.0


def _judge(policy: Policy, state: State, guard: Guard, ready: float, now: float) -> State:
    """The mean of the replicas counts, not the last: those that came just now have had no time to bring anything."""
    hoped = guard.grown / guard.looks / max(guard.ready, 1.0) - 1.0
    throughput = state.throughput.level
    gained = throughput / guard.throughput - 1.0 if guard.throughput > 0 else (inf if throughput > 0 else 0.0)
    if hoped <= 0 or gained >= _LEAST_GAIN * hoped:
        return state._replace(guard=None)
    text = f"{guard.ready:.0f} → {ready:.0f} replicas brought {guard.throughput:,.1f} → {throughput:,.1f} jobs/s"
    return state._replace(guard=None, saturated_until=now + policy.guard_retry, saturated_text=text)
