"""The table of docs/controller.md in which the policies stand side by side is what its commands print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.__main__ import app

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "controller.md").read_text(encoding="utf-8").partition("## Beside its rivals")[2]
COMMANDS = re.findall(r"^    headrace (simulate --json .+)$", SECTION, re.MULTILINE)
ROWS = [
    line.strip("| ").split(" | ") for line in SECTION.partition("\n\nEach row is one command")[0].splitlines()[-len(COMMANDS) :]
]


def test_each_row_has_its_command() -> None:
    assert [row[0].partition(",")[0] for row in ROWS] == ["code completion", "chat", "load balancer", "the measured step below"]


@pytest.mark.parametrize(
    ("command", "row"),
    [pair for pair in zip(COMMANDS, ROWS, strict=True) if "--compress" not in pair[0]],  # the two weeks take a minute and a half
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_row_is_what_its_command_prints(command: str, row: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    scores = json.loads(result.output.splitlines()[-1])
    assert [score["policy"] for score in scores] == ["ours", "keda", "kpa", "practo", "oracle"]
    assert [f"{score['late_s']:,g} s, {score['pod_seconds']:,.0f}" for score in scores] == row[1:]
