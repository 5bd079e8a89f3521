"""Errors as problems: what each is answered with, and that none tells where a server is."""

from __future__ import annotations

import pytest

from core.errors import (
    BadRecord,
    BrokerUnavailable,
    HeadraceError,
    NotReplayable,
    StoreUnavailable,
    TooLarge,
    Unpublishable,
    Unroutable,
    WindowFull,
)
from service.errors import problem_of


@pytest.mark.parametrize(
    ("error", "kind", "status", "again"),
    [
        (TooLarge(300_000, 100_000), "too-large", 413, False),
        (Unpublishable("its headers cannot be written"), "unpublishable", 422, False),
        (NotReplayable("its job type has more than 255 bytes"), "not-replayable", 422, False),
        (Unroutable("no queue is bound for it"), "not-confirmed", 503, True),
        (WindowFull("so much waits"), "busy", 503, True),
        (BrokerUnavailable("OSError: [Errno 111] Connect call failed ('10.0.0.7', 5672)"), "not-confirmed", 503, True),
        (StoreUnavailable("Redis: ConnectionError: Error 111 connecting to 10.0.0.7:6379."), "store-unavailable", 503, True),
        (BadRecord("10.0.0.7 has a record that is none"), "bad-record", 500, False),
    ],
)
def test_each_error_has_its_answer(error: HeadraceError, kind: str, status: int, again: bool) -> None:
    problem = problem_of(error)
    assert (problem.kind, problem.status, "Retry-After" in problem.headers) == (kind, status, again)
    assert "10.0.0.7" not in problem.detail


def test_what_is_too_large_names_the_limit() -> None:
    problem = problem_of(TooLarge(300_000, 100_000))
    assert "100000" in problem.detail
    assert problem.extensions == {"size": 300_000, "limit": 100_000}
