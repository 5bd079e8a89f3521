"""The stand-ins for a run that tests of a handler get."""

from __future__ import annotations

import pytest

from consumer import Context, TimeLimitExceeded
from consumer.testing import context


def test_it_is_a_context_whose_key_is_that_of_its_delivery() -> None:
    one, again = context("mail", job_id="j"), context("mail", job_id="j", attempt=2)
    assert isinstance(one, Context)
    assert (one.attempt, again.attempt) == (1, 2)
    assert one.idempotency_key == again.idempotency_key == "mail:j"
    assert context("mail", job_id="j", replay=1).idempotency_key == "mail:j:1"
    assert context().job_id != context().job_id


def test_it_keeps_what_the_handler_notes_and_drops_what_a_run_would_drop() -> None:
    ctx = context(trace={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
    ctx.progress({"done": 1})
    ctx.progress("x" * 300_000)
    ctx.progress([2])
    assert ctx.notes == [{"done": 1}, [2]]
    assert ctx.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_time_limit_that_is_over_is_said_by_check() -> None:
    ctx = context(time_limit=5.0)
    ctx.check()
    ctx.overdue = True
    with pytest.raises(TimeLimitExceeded, match="5 s"):
        ctx.check()
