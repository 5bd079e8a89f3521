"""The alert rules in the chart are the project's, and Prometheus takes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.render import render
from tests.servers import find

pytestmark = pytest.mark.needs("helm")

RULES = Path(__file__).parents[2] / "telemetry/rules/headrace.yaml"


def test_they_are_the_projects() -> None:
    rules = [one for one in render({"monitoring": {"rules": True}}) if one["kind"] == "PrometheusRule"]
    assert [one["spec"] for one in rules] == [yaml.safe_load(RULES.read_text(encoding="utf-8"))]


@pytest.mark.needs("promtool")
def test_prometheus_takes_them(tmp_path: Path) -> None:
    for number, one in enumerate(one for one in render({"monitoring": {"rules": True}}) if one["kind"] == "PrometheusRule"):
        file = tmp_path / f"{number}.yaml"
        file.write_text(json.dumps(one["spec"]), encoding="utf-8")  # which is YAML too
        done = subprocess.run([find("promtool", "promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "SUCCESS" in done.stdout


def test_whether_they_are_made() -> None:
    """auto: where the cluster has the API; true: whatever Helm knows of the cluster; false: never."""
    for value, offered, there in (("auto", True, 1), ("auto", False, 0), (True, False, 1), (False, True, 0)):
        apis = ("monitoring.coreos.com/v1",) if offered else ()
        made = [one for one in render({"monitoring": {"rules": value}}, api_versions=apis) if one["kind"] == "PrometheusRule"]
        assert len(made) == there
