"""The rules of a claim hold for whatever is stored."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from core.claims import Stored, accepts, judge
from core.model import State
from core.ports import Claim, Verdict

NOW = 1000.0

stored = st.one_of(
    st.none(),
    st.builds(
        Stored,
        st.sampled_from(State),
        st.integers(0, 2),
        st.integers(0, 3),
        st.sampled_from(["a", "b"]),
        st.sampled_from([0.0, NOW - 1, NOW + 5]),
        st.sampled_from([0.0, NOW - 1, NOW + 5]),
    ),
)
claims = st.builds(
    Claim,
    st.just("q"),
    st.just("j"),
    st.just("t"),
    st.just(0.0),
    st.integers(0, 2),
    st.integers(1, 3),
    st.sampled_from("ab"),
    st.just(9.0),
)


@given(stored, claims)
def test_what_is_granted_may_be_renewed_and_settled(before: Stored | None, claim: Claim) -> None:
    answer = judge(before, claim, NOW)
    if answer.verdict.ours:
        running = Stored(State.RUNNING, claim.replay, claim.attempt, claim.token, NOW + claim.lease)
        assert judge(running, claim, NOW).verdict is Verdict.GRANTED, "the same claim again"
        assert accepts(running, claim, State.RUNNING)
        for state in (State.SUCCEEDED, State.RETRYING, State.DEAD, State.QUEUED):
            assert accepts(running, claim, state)
            ended = running._replace(state=state)
            assert accepts(ended, claim, state), "the same outcome again"
            assert not accepts(ended, claim, State.RUNNING)


@given(stored, claims)
def test_nobody_runs_beside_a_live_run(before: Stored | None, claim: Claim) -> None:
    if before is not None and before.state is State.RUNNING and before.lease_until > NOW and before.token != claim.token:
        assert not judge(before, claim, NOW).verdict.ours


@given(stored, claims)
def test_a_state_only_moves_forward(before: Stored | None, claim: Claim) -> None:
    """Neither a claim nor an outcome goes back to an older replay, or undoes what has ended in the same one."""
    if before is None:
        return
    assume(
        before.token != claim.token or (before.replay, before.attempt) == (claim.replay, claim.attempt)
    )  # a token is one claim's
    if judge(before, claim, NOW).verdict.ours:
        assert (claim.replay, claim.attempt) >= (before.replay, before.attempt)
        assert not (before.state.final and before.replay == claim.replay)
    for state in State:
        if accepts(before, claim, state):
            assert (claim.replay, claim.attempt) >= (before.replay, before.attempt)
            if before.state.final and before.replay == claim.replay and before.attempt == claim.attempt:
                assert state is before.state


@given(stored, claims, st.sampled_from([State.SUCCEEDED, State.RETRYING, State.DEAD]))
def test_what_was_taken_over_is_refused_and_what_is_further_back_is_not(before: Stored | None, claim: Claim, state: State) -> None:
    if before is None or (before.replay, before.attempt) < (claim.replay, claim.attempt):
        ended = before is not None and before.state.final and before.replay == claim.replay
        assert accepts(before, claim, state) is not ended
    elif before.token != claim.token and before.state not in (State.QUEUED, State.UNCONFIRMED):
        assert not accepts(before, claim, state)


@given(claims)
def test_a_crash_is_counted_once(claim: Claim) -> None:
    lapsed = Stored(State.RUNNING, claim.replay, claim.attempt, "former", NOW - 1)
    assert judge(lapsed, claim, NOW).verdict is Verdict.CRASHED
    taken = lapsed._replace(token=claim.token, lease_until=NOW + 9)
    assert judge(taken, replace(claim, token="third"), NOW).verdict is Verdict.HELD
    assert judge(lapsed, replace(claim, attempt=claim.attempt + 1), NOW).verdict is Verdict.GRANTED
