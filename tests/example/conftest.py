"""These are of the example, not of the tests' own job types."""

import pytest


@pytest.fixture(autouse=True)
def _the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_APP", "app")
