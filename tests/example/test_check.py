"""`headrace check` reads the settings of the example's handlers as they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.command_line import run


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("DATABASE", "foo", "HEADRACE_DATABASE=(hidden)"), ("SMTP_PORT", "post", "HEADRACE_SMTP_PORT='post'")],
)
async def test_a_bad_setting_is_named(setting: str, value: str, said: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/headrace.db"
    code, out, _ = await run("check", HEADRACE_BROKER=url, HEADRACE_OUTCOMES=url, **{f"HEADRACE_{setting}": value})
    assert (code, said in out) == (1, True)
