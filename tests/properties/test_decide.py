"""The properties of every decision, for every observation."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.decide import decide
from autoscaler.model import UNKNOWN, Figure, Observation, Pause, Policy, Reason, Seen
from autoscaler.state import State, fresh

NOW = 1000.0
counts = st.integers(0, 10**7).map(float)
ages = st.sampled_from([0.0, 1.0, 5.0])
figures = st.builds(lambda value, age: Figure(value, NOW - age), counts, ages)
seens: st.SearchStrategy[Seen] = st.one_of(st.just(UNKNOWN), figures)
seconds: st.SearchStrategy[Seen] = st.one_of(st.just(UNKNOWN), st.floats(0, 1000).map(lambda value: Figure(value, NOW)))
policies = st.builds(
    lambda low, more, drain, concurrency: Policy(
        min_replicas=low, max_replicas=max(1, low + more), drain_target=drain, concurrency=concurrency, fallback_replicas=1
    ),
    st.integers(0, 20),
    st.integers(0, 200),
    st.floats(1, 300),
    st.integers(1, 100),
)
pauses = st.sampled_from(list(Pause))


@st.composite
def observations(draw: st.DrawFn, most: int = 300) -> Observation:
    return Observation(
        1.75e9,
        draw(st.integers(0, most)),
        ready=draw(seens),
        ready_jobs=draw(seens),
        unacked=draw(seens),
        published=draw(seens),
        completed=draw(seens),
        in_flight=draw(seens),
        busy_seconds=draw(seens),
        wait_mean=draw(seconds),
        handler_mean=draw(seconds),
        pause=draw(pauses),
    )


@st.composite
def states(draw: st.DrawFn, policy: Policy) -> State:
    """A state that real decisions led to."""
    state = fresh(NOW - 900, 30)
    for step in range(draw(st.integers(0, 4))):
        shift = 60.0 * (step - 5)
        seen = draw(observations())
        moved = replace(
            seen,
            ready=_moved(seen.ready, shift),
            ready_jobs=_moved(seen.ready_jobs, shift),
            unacked=_moved(seen.unacked, shift),
            published=_moved(seen.published, shift),
            completed=_moved(seen.completed, shift),
            in_flight=_moved(seen.in_flight, shift),
        )
        _, state = decide(policy, state, moved, NOW + shift)
    return state


def _moved(seen: Seen, shift: float) -> Seen:
    return seen if seen is UNKNOWN else Figure(seen.value, seen.at + shift)


situations = policies.flatmap(lambda policy: st.tuples(st.just(policy), states(policy), observations()))


@given(situations)
def test_bounds_hold(situation: tuple[Policy, State, Observation]) -> None:
    policy, state, seen = situation
    decision, _ = decide(policy, state, seen, NOW)
    if seen.pause is Pause.NONE:
        assert policy.min_replicas <= decision.replicas
        busy = decision.reason is Reason.BUSY  # who is above the maximum gives up no run
        assert decision.replicas <= (max(policy.max_replicas, seen.asked) if busy else policy.max_replicas)
    if seen.pause is Pause.ALL:
        assert decision.replicas == seen.asked
    if seen.pause is Pause.IN:
        assert decision.replicas >= seen.asked
    if seen.pause is Pause.OUT:
        assert decision.replicas <= seen.asked


@given(situations)
def test_equal_inputs_give_equal_decisions(situation: tuple[Policy, State, Observation]) -> None:
    assert decide(*situation, NOW) == decide(*situation, NOW)


@given(situations, st.integers(0, 10**7), st.booleans())
def test_more_backlog_never_wants_fewer(situation: tuple[Policy, State, Observation], more: int, in_ready: bool) -> None:
    policy, state, seen = situation
    less = seen.ready_jobs if in_ready else seen.unacked
    if less is UNKNOWN:
        return
    greater = Figure(less.value + more, less.at)
    fuller = replace(seen, ready_jobs=greater) if in_ready else replace(seen, unacked=greater)
    assert decide(policy, state, fuller, NOW)[0].replicas >= decide(policy, state, seen, NOW)[0].replicas


@given(situations, st.sampled_from(["ready_jobs", "unacked", "published and completed"]))
def test_unknown_never_shrinks(situation: tuple[Policy, State, Observation], name: str) -> None:
    policy, _, seen = situation
    seen = replace(seen, asked=min(seen.asked, policy.max_replicas), pause=Pause.NONE)
    if name == "ready_jobs":
        seen = replace(seen, ready_jobs=UNKNOWN)
    elif name == "unacked":
        seen = replace(seen, unacked=UNKNOWN)
    else:
        seen = replace(seen, published=UNKNOWN, completed=UNKNOWN)
    assert decide(policy, fresh(NOW - 900, 30), seen, NOW)[0].replicas >= seen.asked


@given(situations)
def test_a_figure_that_is_too_old_is_unknown(situation: tuple[Policy, State, Observation]) -> None:
    policy, state, seen = situation
    if seen.ready_jobs is UNKNOWN or seen.pause is not Pause.NONE:
        return
    stale = replace(seen, ready_jobs=Figure(0.0, NOW - policy.freshness - 1))
    decision, _ = decide(policy, state, stale, NOW)
    assert decision.reason in (Reason.BLIND, Reason.FALLBACK, Reason.AT_MIN, Reason.AT_MAX)


@given(st.integers(1, 60), st.integers())
def test_steady_traffic_with_noise_does_not_flap(level: int, seed: int) -> None:
    rng = random.Random(seed)
    noise = [rng.uniform(-0.1, 0.1) for _ in range(150)]
    policy = Policy(max_replicas=200, concurrency=10, service_seconds=0.1, startup_seconds=4.0)
    state, published, asked, changes = fresh(0.0, policy.down_window), 0.0, max(1, round(level * 50 / 80)), 0
    for tick, wobble in enumerate(noise):
        now = tick * 2.0
        published += level * 50 * (1 + wobble) * 2.0
        in_flight = level * 5.0
        seen = Observation(
            1.75e9 + now,
            asked,
            ready=Figure(asked, now),
            ready_jobs=Figure(0.0, now),
            unacked=Figure(in_flight, now),
            published=Figure(published, now),
            completed=Figure(max(0.0, published - in_flight), now),
            in_flight=Figure(in_flight, now),
            busy_seconds=Figure(max(0.0, published - in_flight) * 0.1, now),
        )
        decision, state = decide(policy, state, seen, now)
        if tick > 30 and decision.replicas != asked:
            changes += 1
        asked = decision.replicas
    assert changes <= 3  # in four minutes; a flapping decision changes at every noisy poll, which are 120
