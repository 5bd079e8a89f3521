"""The files in the root of the repository for people and for hosted CI agree with the rest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
HOSTED = [".github/workflows/ci.yaml", ".github/workflows/nightly.yaml", ".gitlab-ci.yml"]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def test_the_version_is_in_one_place_and_others_follow() -> None:
    newest = re.search(r"^## (\d+\.\d+\.\d+)", _text("CHANGELOG.md"), re.MULTILINE)
    chart = yaml.safe_load(_text("helm/headrace/Chart.yaml"))
    assert newest is not None
    assert {newest[1], chart["version"], chart["appVersion"]} == {VERSION}


@pytest.mark.parametrize("name", HOSTED)
def test_hosted_ci_calls_what_there_is(name: str) -> None:
    """The scripts of .ci and the targets of make, so that CI can be run anywhere."""
    lines = "\n".join(_strings(yaml.safe_load(_text(name))))
    scripts, targets = set(re.findall(r"\.ci/\w+", lines)), set(re.findall(r"^make ([\w-]+)", lines, re.MULTILINE))
    assert scripts
    assert all((ROOT / script).stat().st_mode & 0o100 for script in scripts)
    assert targets <= set(re.findall(r"^([a-z0-9-]+):", _text("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("name", HOSTED[1:])
def test_each_shard_that_is_run_at_night_is_one_of_full(name: str) -> None:
    (shards,) = re.findall(r"(?:shard|SHARD): \[([\w, ]+)\]", _text(name))
    assert set(shards.split(", ")) < set(re.findall(r"^  (\w+)\)$", _text(".ci/full"), re.MULTILINE))


def test_vendored_data_has_its_notice() -> None:
    notice = _text("NOTICE")
    others = [path for path in (ROOT / "bench" / "traces").glob("*.csv") if path.name != "keda-hpa-step-measured.csv"]
    assert len(others) == 3
    assert all(str(path.relative_to(ROOT)) in notice for path in others)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_somewhere_and_commands_are_there(name: str) -> None:
    text = _text(name)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
    targets = set(re.findall(r"\bmake ([a-z-]+)", " ".join(re.findall(r"`[^`]+`|^    .*$", text, re.MULTILINE))))
    assert targets <= set(re.findall(r"^([a-z0-9-]+):", _text("Makefile"), re.MULTILINE))
