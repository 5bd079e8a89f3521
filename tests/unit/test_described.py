"""What is recorded of an error, and shown by GET /v1/jobs/{id}."""

from __future__ import annotations

from consumer.execute import MOST_TEXT, describe


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
