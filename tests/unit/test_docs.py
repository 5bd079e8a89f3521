"""Facts that documents repeat of the code are the code's."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import consumer
from autoscaler.model import AlertKind, Reason
from cli.__main__ import app
from cli.policies import ORACLE, POLICIES
from consumer.settle import SETTLEMENTS
from core.model import State
from core.ports import Verdict
from service.dead_letters import Replayed
from service.routes import ReplayRequest
from simulator.scenarios import SHAPES, WHOLE
from simulator.simulate import Score
from tests.chaos.reliability import MINUTES

ROOT = Path(__file__).parents[2]
PAGES = [
    page.relative_to(ROOT).as_posix()
    for folder, pattern in ((".", "*.md"), ("docs", "**/*.md"), ("examples", "*.md"), ("helm", "**/*.md"), ("k8s", "*.md"))
    for page in sorted((ROOT / folder).glob(pattern))
]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_reason_of_a_decision_is_explained() -> None:
    section = _text("docs/controller.md").partition("## Its reasons")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == [str(reason) for reason in Reason]


def test_every_alert_of_the_controller_is_explained() -> None:
    section = _text("docs/controller.md").partition("## Alerts")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == {str(kind) for kind in AlertKind}


def test_the_files_that_the_pages_name_are_there() -> None:
    # The example and the examples may have been removed.
    removable = {"tests/example": ("app/", "tests/example/"), "examples": ("examples/",)}
    gone = tuple(name for folder, names in removable.items() if not (ROOT / folder).exists() for name in names)
    for page in ("docs/extending.md", "docs/architecture.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", _text(page))
        assert named
        assert [name for name in named if not (ROOT / name).exists() and not name.startswith(gone)] == []


def test_the_glossary_has_each_word_once_and_the_words_of_the_code() -> None:
    rows = [row.split(" | ") for row in re.findall(r"^\| (.+) \|$", _text("docs/glossary.md"), re.MULTILINE)]
    meanings = {cells[0]: cells[1] for cells in rows if cells[0] not in ("word", "---")}
    assert len(meanings) == sum(cells[0] not in ("word", "---") for cells in rows)
    for word, kind in (("state", State), ("verdict", Verdict)):
        assert re.findall(r"`([a-z]+)`", meanings[word]) == [str(one) for one in kind]
    assert tuple(re.findall(r"`([a-z]+)`", meanings["settlement"])) == SETTLEMENTS
    for page in ("README.md", "docs/architecture.md"):
        assert "glossary.md)" in _text(page)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for target, heading in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)", _text(page)):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        assert not heading or heading in _headings(file), f"{target}#{heading}"


def test_the_site_has_every_page() -> None:
    """`make docs-site` warns of a page that its menu lacks; this needs no tool."""
    listed = re.findall(r"^ +- (?:[\w ]+: )?([\w./-]+\.md)$", _text("mkdocs.yml"), re.MULTILINE)
    assert sorted(listed) == sorted({*PAGES, "bench/traces/README.md"})


def test_decisions_are_numbered_by_their_files() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert "**Why" in text
        assert "**What it costs.**" in text


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
