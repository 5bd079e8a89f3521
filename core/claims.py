"""The rules of a claim, as arithmetic: who may run a delivery, and whose word of it counts. Every store follows these.

A delivery moves forward by (replay, attempt), and within an attempt from queued over running to how it ended. A record that a store
has forgotten (it was emptied, restarted without its last writes, or a replica took over) is not refused but written again: only a
claim that somebody else took over, or a state that is further on, is.
"""

from __future__ import annotations

from typing import NamedTuple

from core.model import State
from core.ports import Answer, Claim, Verdict


class Stored(NamedTuple):
    """The stored record of a delivery. lease_until, next_at: seconds of the store's clock; a lease whose owner is known to be dead
    ends at 0. crashed: the claim was granted as CRASHED, and is again to its owner."""

    state: State
    replay: int = 0
    attempt: int = 0
    token: str | None = None
    lease_until: float = 0.0
    next_at: float = 0.0
    crashed: bool = False


def judge(stored: Stored | None, claim: Claim, now: float) -> Answer:
    """Answer a claim. `Verdict` in `core/ports.py` has the rules as a table."""
    if stored is None:
        return _GRANTED
    if stored.replay != claim.replay:
        return _judge_replay(stored, claim, now)
    if stored.state.final:
        return Answer(Verdict.SETTLED)
    match stored.state:
        case State.RUNNING:
            return _judge_run(stored, claim, now)
        case State.RETRYING if stored.attempt == claim.attempt:
            return Answer(Verdict.WAITING, max(0.0, stored.next_at - now))
    return _STALE if stored.attempt > claim.attempt else _GRANTED


def accepts(stored: Stored | None, claim: Claim, state: State) -> bool:
    """Whether the holder of `claim` may write `state`: an outcome, or RUNNING, which renews the claim."""
    if stored is None:
        return True
    theirs, ours = (stored.replay, stored.attempt), (claim.replay, claim.attempt)
    if theirs > ours:
        return False
    if stored.state.final and stored.replay == claim.replay:
        return theirs == ours and stored.token == claim.token and stored.state is state  # again, because its answer was lost
    if theirs < ours:
        return True  # our claim was forgotten
    if stored.token != claim.token:
        return stored.state in _NOT_BEGUN
    if state is State.RUNNING:
        return stored.state is State.RUNNING
    # _NOT_BEGUN: an outcome that was overtaken by its own hand-back.
    return stored.state is state or stored.state is State.RUNNING or stored.state in _NOT_BEGUN


def _judge_replay(stored: Stored, claim: Claim, now: float) -> Answer:
    if stored.replay > claim.replay:
        return _STALE
    # The message that a replay came beside may still be running.
    alive = stored.state is State.RUNNING and stored.lease_until > now
    return Answer(Verdict.HELD, stored.lease_until - now) if alive else _GRANTED


def _judge_run(stored: Stored, claim: Claim, now: float) -> Answer:
    if stored.token == claim.token:
        return Answer(Verdict.CRASHED) if stored.crashed else _GRANTED  # the answer to the same claim was lost on its way
    if stored.lease_until > now:
        return Answer(Verdict.HELD, stored.lease_until - now)
    if stored.attempt == claim.attempt:
        return Answer(Verdict.CRASHED)
    return _STALE if stored.attempt > claim.attempt else _GRANTED


_NOT_BEGUN = (State.QUEUED, State.UNCONFIRMED)
_GRANTED = Answer(Verdict.GRANTED)
_STALE = Answer(Verdict.STALE)
