"""What documents repeat of the code is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import consumer
from autoscaler.model import Reason
from tests.chaos.reliability import MINUTES

ROOT = Path(__file__).parents[2]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_reason_of_a_decision_is_explained() -> None:
    section = _text("docs/controller.md").partition("## Its reasons")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == [str(reason) for reason in Reason]


def test_the_chaos_run_takes_as_long_in_every_text() -> None:
    (said,) = re.findall(r"^chaos: .* (\d+) minutes\)$", _text("Makefile"), re.MULTILINE)
    assert int(said) == MINUTES


def test_what_a_handler_imports_is_named_and_there() -> None:
    for name in ("README.md", "docs/extending.md"):
        (listed,) = re.findall(r"from consumer import ([\w, ]+)", _text(name))
        assert set(listed.split(", ")) <= set(consumer.__all__)


def test_the_readmes_line_of_a_decision_is_what_its_own_formula_gives() -> None:
    line = re.search(r"backlog ([\d,]+), arriving (\d+)/s: \d+ → (\d+) \(drain in (\d+) s at (\d+) jobs/s", _text("README.md"))
    assert line is not None
    backlog, arriving, wanted, drain, speed = (int(text.replace(",", "")) for text in line.groups())
    most = (arriving + backlog / drain) / (speed * 0.9)  # without the slack, which the line does not tell
    least = (arriving + max(0.0, backlog - 0.5 * arriving) / drain) / (speed * 0.9)
    assert least <= wanted < most + 1
