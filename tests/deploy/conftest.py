"""The chart deploys what is in `app`, and not the tests' own job types."""

import pytest

from core import project


@pytest.fixture(autouse=True)
def _what_is_yours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(project.VARIABLE, "app")
