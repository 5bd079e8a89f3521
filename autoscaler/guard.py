"""The no-progress guard: more replicas were added, and throughput did not follow. Something behind them is saturated.

Then it steps back, by halves, and looks at each step whether throughput stays: where it falls with the replicas, as it does when
jobs have become longer and nothing is saturated, the verdict was wrong, and none is given again before the backlog is gone. Later
it probes upward, one step at a time, with pauses that double.
"""

from __future__ import annotations

from math import ceil, inf

from autoscaler.model import UNKNOWN, Policy
from autoscaler.starting import STARTS
from autoscaler.state import NEVER, Guard, Retreat, State
from autoscaler.view import View

# Throughput must have grown by a quarter of what the added replicas would bring, if nothing else limited them.
_LEAST_GAIN = 0.25
# From less than a fifth more replicas nothing can be concluded: throughput varies by as much as they could bring.
_LEAST_GROWTH = 0.2
# No conclusion is possible before new replicas have had the time for this number of jobs one after the other.
_LEAST_JOBS = 3.0
# Throughput stays if it falls by no more than this part of what the replicas did.
_MOST_LOSS = 0.3
# It is tried again after `guard_retry`, then after twice as long, up to 16 times.
_MOST_DOUBLINGS = 4


def watch_progress(policy: Policy, state: State, view: View, asked: int, replicas: int, now: float) -> State:
    """The state with the guard's word. It judges for the next decision, so that this one depends on its own figures alone.

    asked, replicas: that the workload was set to, and is from now on.
    """
    if view.ready is UNKNOWN or view.backlog is UNKNOWN:
        return state
    if view.excess <= 0:  # work ran out: throughput is what arrives, and proves nothing
        return state._replace(guard=None, retreat=None, saturated_until=NEVER, saturations=0, retreated=False, immune=False)
    if not state.throughput.known or state.throughput.at < now - policy.freshness:  # throughput is unknown: it is not 0
        return state._replace(guard=None, retreat=None)
    if now < state.saturated_until:
        return _stepping_back(policy, state, view, asked, replicas, now)
    guard = state.guard
    if guard is None:
        starts = replicas > asked and not state.immune
        return state._replace(guard=Guard(view.ready, state.throughput.level, now), retreat=None) if starts else state
    if guard.grown_at == NEVER and view.ready <= guard.ready:
        patience = policy.guard_seconds + STARTS * state.startup.expected(policy.startup_seconds)
        return state if now - guard.since < patience else state._replace(guard=None)
    since = now if guard.grown_at == NEVER else guard.grown_at
    guard = guard._replace(grown_at=since, grown=guard.grown + view.ready, looks=guard.looks + 1)
    if now - since < _long_enough(policy, view):
        return state._replace(guard=guard)
    return _judge(policy, state, guard, view.ready, now)


def _long_enough(policy: Policy, view: View) -> float:
    """Seconds after which throughput is that of the replicas that there are."""
    return max(policy.guard_seconds, _LEAST_JOBS * view.job)


def _judge(policy: Policy, state: State, guard: Guard, ready: float, now: float) -> State:
    """The mean of the replicas counts, not the last: those that came just now have had no time to bring anything."""
    hoped = guard.grown / guard.looks / max(guard.ready, 1.0) - 1.0
    throughput = state.throughput.level
    gained = throughput / guard.throughput - 1.0 if guard.throughput > 0 else (inf if throughput > 0 else 0.0)
    if hoped < _LEAST_GROWTH or gained >= _LEAST_GAIN * hoped:
        return state._replace(guard=None, saturations=0, retreated=False)
    text = f"{guard.ready:.0f} → {ready:.0f} replicas brought {guard.throughput:,.1f} → {throughput:,.1f} jobs/s"
    return state._replace(
        guard=None,
        saturated_until=now + policy.guard_retry * 2 ** min(state.saturations, _MOST_DOUBLINGS),
        saturated_at=ceil(max(guard.ready, 1.0) * (1.0 + max(0.0, gained))),
        saturations=state.saturations + 1,
        saturated_text=text,
    )


def _stepping_back(policy: Policy, state: State, view: View, asked: int, replicas: int, now: float) -> State:
    """While it is thought to be saturated: judge the last step back, or begin with the one that was just decided."""
    if state.retreat is None:
        if replicas >= asked:
            return state
        return state._replace(retreat=Retreat(asked, replicas, state.throughput.level, now))
    if now - state.retreat.since < _long_enough(policy, view):
        return state
    lost = 1.0 - state.retreat.after / state.retreat.before
    least = state.retreat.throughput * (1.0 - _MOST_LOSS * lost)
    if state.throughput.level >= least:
        return state._replace(retreat=None, retreated=True)
    if state.retreated:  # one step too far
        return state._replace(retreat=None, saturated_at=state.retreat.before)
    return state._replace(retreat=None, saturated_until=NEVER, saturations=0, immune=True)


def held_back(policy: Policy, state: State, view: View, asked: int, wanted: int, now: float) -> int | None:
    """Replicas in place of `wanted`, more than are asked for, where more have brought nothing; None where nothing speaks against
    them.

    Towards as many as bring what they all bring, if each brings what one brought before: those beyond press on what is saturated.
    """
    if now < state.saturated_until:
        if asked < state.saturated_at:
            return min(wanted, state.saturated_at)
        certain = view.whole and view.arrival is not UNKNOWN and now >= state.settled_at
        if state.retreat is not None or not certain or now - state.down_at < policy.down_cooldown:
            return asked
        least = max(1, state.saturated_at, ceil(asked * (1.0 - policy.step_down)), asked - view.takeable)
        return min(asked, least)
    if state.saturations:
        return asked if state.guard is not None else min(wanted, asked + max(1, int(asked * policy.threshold_step)))
    return None
