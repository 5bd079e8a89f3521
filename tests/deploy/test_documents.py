"""The names in chart and documents exist: settings, values, metrics, files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from telemetry import metrics
from tests.deploy.checks.environment import known
from tests.deploy.render import CHART

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    CHART / "README.md",
    CHART / "UPGRADING.md",
    ROOT / "k8s/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_every_setting_that_the_chart_names_exists() -> None:
    for path in CHART.rglob("*"):
        if path.is_file():
            named = set(re.findall(r"HEADRACE_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
            assert named <= known(), f"{path.name} names settings that there are not"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [ROOT / "docs/kubernetes.md", CHART / "UPGRADING.md"], ids=lambda page: page.name)
def test_values_and_metrics_that_a_page_names_exist(page: Path) -> None:
    said = [word for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")) for word in code.split()]
    sections = "|".join(VALUES)
    values = {word.rstrip(":") for word in said if re.fullmatch(rf"(?:{sections})(?:\.\w+)+:?", word)}
    assert values
    assert [value for value in sorted(values) if not _there(value.split("."))] == []
    assert metrics.DELIVERIES  # defined where they are imported
    there = {sample for family in REGISTRY.collect() for sample in (family.name, f"{family.name}_total")}
    assert {word for word in said if word.startswith("headrace_")} <= there


def _there(keys: list[str]) -> bool:
    """Whether the schema has it; an entry of `consumers` has what `consumerDefaults` has."""
    at = SCHEMA
    for key in ["consumerDefaults", *keys[2:]] if keys[0] == "consumers" else keys:
        for part in at.get("allOf", []):
            at = SCHEMA["properties"].get(part["$ref"].rpartition("/")[2], at)
        if key not in at.get("properties", {}):
            return False
        at = at["properties"][key]
    return True
