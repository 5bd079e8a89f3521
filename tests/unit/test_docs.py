"""What documents repeat of the code is what the code says."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

import consumer
from autoscaler.model import AlertKind, Reason
from cli.__main__ import app
from cli.policies import ORACLE, POLICIES
from service.dead_letters import Replayed
from service.routes import ReplayRequest
from simulator.scenarios import SHAPES, WHOLE
from simulator.simulate import Score
from tests.chaos.reliability import MINUTES

ROOT = Path(__file__).parents[2]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_reason_of_a_decision_is_explained() -> None:
    section = _text("docs/controller.md").partition("## Its reasons")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == [str(reason) for reason in Reason]


def test_every_alert_of_the_controller_is_explained() -> None:
    section = _text("docs/controller.md").partition("## Alerts")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == {str(kind) for kind in AlertKind}


def test_the_files_that_the_pages_name_are_there() -> None:
    gone = () if (ROOT / "tests/example").exists() else ("app/", "tests/example/")  # where the example was taken away
    for page in ("docs/extending.md", "docs/architecture.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", _text(page))
        assert named
        assert [name for name in named if not (ROOT / name).exists() and not name.startswith(gone)] == []


def test_what_can_be_simulated_is_listed_as_it_is_typed() -> None:
    section = _text("docs/controller.md").partition("## What can be simulated")[2].partition("\n## ")[0]
    traces, policies, figures = re.findall(r"^\| --- .*\n((?:\|.*\n)+)", section, re.MULTILINE)
    assert re.findall(r"^\| `([^`]+)`", traces, re.MULTILINE) == [*SHAPES, *WHOLE]
    assert re.findall(r"^\| `([^`]+)`", policies, re.MULTILINE) == [*POLICIES, "fixed:12", ORACLE]
    whole = get_command(app)
    assert isinstance(whole, TyperGroup)
    told = {option.name: str(getattr(option, "help", "")) for option in whole.commands["simulate"].params}
    for option, names in (("trace", [*SHAPES, *WHOLE]), ("policy", [*POLICIES, "fixed:12", ORACLE])):
        assert set(names) <= set(re.findall(r"[\w:-]+", told[option]))
    keys = re.findall(r"`([a-z\d_]+)`", "\n".join(row.split("|")[2] for row in figures.splitlines()))
    assert sorted(keys) == sorted([*(field.name for field in fields(Score)), "ours_at_equal_lateness"])
    assert (ROOT / "bench" / "traces" / "README.md").is_file()
    assert "(../bench/traces/README.md)" in section


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


def test_the_replay_by_http_is_what_the_gateway_takes_and_answers() -> None:
    page = _text("docs/dead-letters.md")
    (body,) = re.findall(r"-d '([^']+)'", page)
    assert (
        json.loads(body).keys() == ReplayRequest.model_validate_json(body).model_dump().keys() == ReplayRequest.model_fields.keys()
    )
    (answer,) = re.findall(r'^\{"replayed.+$', page, re.MULTILINE)
    assert list(json.loads(answer)) == [field.name for field in fields(Replayed)]
