"""The description of an error in a record, as GET /v1/jobs/{id} shows it."""

from __future__ import annotations

from consumer.execute import MOST_TEXT, RetryAfter, after_failure, describe
from core.chance import SystemChance
from core.retry import RetryPolicy


def test_a_record_has_no_password() -> None:
    """A driver's error names the whole URL, and its `raise` stands in the traceback."""
    try:
        raise ConnectionError("cannot reach postgresql://app:planted@db/app with {'password': 'planted'}")  # noqa: TRY301
    except ConnectionError as error:
        found = describe(error)
    assert found.kind == "ConnectionError"
    assert found.message == "cannot reach postgresql://app:***@db/app with {'password': '***'}"
    assert "planted" not in found.traceback
    assert "postgresql://app:***@db/app" in found.traceback


def test_a_group_that_is_nested_deeply_is_recorded() -> None:
    error: Exception = ValueError("inmost")
    for _ in range(2000):
        error = ExceptionGroup("some", [error])
    found = describe(error)
    assert found.kind == "ExceptionGroup"
    assert "some (1 sub-exception)" in found.traceback
    assert len(found.traceback) <= MOST_TEXT


class Hostile(Exception):
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


def test_an_error_that_answers_nothing_is_a_failure_like_any_other() -> None:
    policy = RetryPolicy(max_attempts=2)
    followed = after_failure(Hostile(), policy, 1, SystemChance())
    assert isinstance(followed, RetryAfter)
    assert "Hostile" in followed.failure.kind
