"""What is made of values.yaml is made of today's; and every setting that the chart names is one of the programs'."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from types import ModuleType

import pytest

from tests.deploy.checks.environment import known
from tests.deploy.render import CHART


@pytest.fixture(scope="module")
def document() -> ModuleType:
    """The program that makes them; `helm/` is no package."""
    spec = importlib.util.spec_from_file_location("document", CHART.parent / "document.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_they_are_made_anew(document: ModuleType) -> None:
    values = document.Values((CHART / "values.yaml").read_text(encoding="utf-8"))
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert document.readme(values, readme) == readme, "run: make chart-docs"
    assert document.schema(values) == json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")), "run: make chart-docs"


def test_every_setting_that_the_chart_names_exists() -> None:
    for path in CHART.rglob("*"):
        if path.is_file():
            named = set(re.findall(r"HEADRACE_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
            assert named <= known(), f"{path.name} names settings that there are not"
