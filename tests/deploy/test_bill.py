"""`make sbom`: the bill of materials names what is shipped, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)  # the first time it installs what is shipped


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    # The make that runs the tests tells its own about its jobs and flags, which are none of this one's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    subprocess.run(["make", "--silent", "sbom"], cwd=ROOT, env=environment, capture_output=True, timeout=280, check=True)
    made: dict[str, Any] = json.loads((ROOT / "build/sbom.json").read_text(encoding="utf-8"))
    return made


def test_it_is_of_this_project(bill: dict[str, Any]) -> None:
    project = _project()
    root = bill["metadata"]["component"]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert (root["name"], root["version"], root["type"]) == (project["name"], project["version"], "application")


def test_it_names_what_the_lock_has_and_nothing_of_the_development(bill: dict[str, Any]) -> None:
    locked = {
        _plain(name): version for name, version in re.findall(r"^([\w.-]+)==([^ ;]+)", _text("requirements.lock"), re.MULTILINE)
    }
    found = {_plain(one["name"]): one["version"] for one in bill["components"]}
    assert found.items() <= locked.items(), "those of other systems are not installed"
    direct = {_plain(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in _project()["dependencies"]}
    assert direct <= found.keys()
    ends = {edge["ref"]: edge.get("dependsOn", []) for edge in bill["dependencies"]}
    assert direct <= {_plain(reference.split("==")[0]) for reference in ends[bill["metadata"]["component"]["bom-ref"]]}
    assert not {"pytest", "mypy", "ruff", "pip"} & found.keys()


def test_it_knows_licences_and_is_the_same_when_made_again(bill: dict[str, Any]) -> None:
    assert [one["name"] for one in bill["components"] if not one.get("licenses")] == []
    assert "timestamp" not in bill["metadata"]
    assert "serialNumber" not in bill
    assert str(ROOT) not in _text("build/sbom.json")


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(_text("pyproject.toml"))["project"]
    return project


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _plain(name: str) -> str:
    """As the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
