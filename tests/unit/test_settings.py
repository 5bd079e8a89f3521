"""docs/settings.md says what the code says."""

from __future__ import annotations

from pathlib import Path

from cli.settings import page


def test_the_page_is_the_code() -> None:
    assert Path("docs/settings.md").read_text() == page(), "run: headrace settings > docs/settings.md"
