"""The rules of a claim, as arithmetic: who may run a delivery. `Verdict` in `jobs/ports.py` has them as a table."""

from __future__ import annotations

from typing import NamedTuple

from jobs.model import State
from jobs.ports import Answer, Claim, Verdict


class Stored(NamedTuple):
    """What is stored of a delivery. lease_until, next_at: Unix seconds of the store's clock."""

    state: State
    replay: int = 0
    attempt: int = 0
    token: str | None = None
    lease_until: float = 0.0
    next_at: float = 0.0


def judge(stored: Stored | None, claim: Claim, now: float) -> Answer:
    """Answer a claim."""
    if stored is None or stored.replay < claim.replay or stored.state in (State.QUEUED, State.UNCONFIRMED):
        return _GRANTED
    if stored.replay > claim.replay:
        return _STALE
    if stored.state.final:
        return Answer(Verdict.SETTLED)
    if stored.state is State.RETRYING:
        return _judge_retry(stored, claim, now)
    if stored.token == claim.token:
        return _GRANTED  # the answer to the same claim was lost on its way
    if stored.lease_until > now:
        return Answer(Verdict.HELD, stored.lease_until - now)
    return _STALE if stored.attempt > claim.attempt else _GRANTED


def _judge_retry(stored: Stored, claim: Claim, now: float) -> Answer:
    if stored.attempt > claim.attempt:
        return _STALE
    if stored.attempt == claim.attempt:
        return Answer(Verdict.WAITING, max(0.0, stored.next_at - now))
    return _GRANTED


_GRANTED = Answer(Verdict.GRANTED)
_STALE = Answer(Verdict.STALE)
