"""The alert rules in the chart are the project's, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.render import render
from tests.servers import find

pytestmark = pytest.mark.needs("helm")

RULES = Path(__file__).parents[2] / "telemetry/rules/headrace.yaml"


ANY = 'namespace=~".*",release=~".*"'
OURS = 'namespace="jobs",release="headrace"'


def rules(**values: object) -> dict[str, Any]:
    """The specification of the rules that the chart makes."""
    made = render({"monitoring": {"rules": True, "podMonitors": True}} | values)
    (one,) = [one["spec"] for one in made if one["kind"] == "PrometheusRule"]
    return dict(one)


def test_they_are_the_projects_for_this_release_alone() -> None:
    text = RULES.read_text(encoding="utf-8")
    assert rules() == yaml.safe_load(text.replace(ANY, OURS))
    assert rules(monitoring={"rules": True, "podMonitors": False}) == yaml.safe_load(text)
    own = rules(monitoring={"rules": True, "podMonitors": True, "selector": 'app="x"'})
    assert own == yaml.safe_load(text.replace(ANY, 'app="x"'))


def test_each_series_in_them_is_selected() -> None:
    expressions = [rule["expr"] for group in rules()["groups"] for rule in group["rules"]]
    series = [found for text in expressions for found in re.findall(r"headrace_\w+(?:\{.*?\})?", text)]
    assert len(series) >= len(expressions)
    assert all(OURS in one for one in series)


def test_without_a_controller_there_is_no_rule_of_it() -> None:
    assert [group["name"] for group in rules(controller={"enabled": False})["groups"]] == ["headrace-work"]


def test_the_monitors_name_the_release_and_the_controller_asks_for_it() -> None:
    made = render({"monitoring": {"podMonitors": True}, "controller": {"prometheusUrl": "http://prometheus:9090"}})
    monitors = [one["spec"] for one in made if one["kind"] in ("PodMonitor", "ServiceMonitor")]
    endpoints = [one for spec in monitors for one in spec.get("endpoints") or spec["podMetricsEndpoints"]]
    assert len(endpoints) == 3
    assert all(one["relabelings"] == [{"targetLabel": "release", "replacement": "headrace"}] for one in endpoints)
    assert OURS in json.dumps(made).replace('\\"', '"')


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(("leading", "alert"), [("0x8", "HeadraceNoController"), (None, "HeadraceNoController"), ("1x8", None)])
def test_another_release_hides_nothing_and_raises_nothing(tmp_path: Path, leading: str | None, alert: str | None) -> None:
    """leading: whether our controller leads, at each scrape; None: it is not there."""
    (tmp_path / "rules.yaml").write_text(json.dumps(rules()), encoding="utf-8")
    other, ours = (f'headrace_scaling_leading{{namespace="jobs", release="{name}"}}' for name in ("other", "headrace"))
    series = [{"series": other, "values": "1x8"}, *([{"series": ours, "values": leading}] if leading else [])]
    expected = [
        {"eval_time": "3m", "alertname": name, "exp_alerts": [_fired()] if name == alert else []}
        for name in ("HeadraceNoController", "HeadraceTwoControllers")
    ]
    test = {"rule_files": ["rules.yaml"], "tests": [{"interval": "30s", "input_series": series, "alert_rule_test": expected}]}
    (tmp_path / "tests.yaml").write_text(json.dumps(test), encoding="utf-8")
    command: list[str | Path] = [find("promtool", "promtool"), "test", "rules", tmp_path / "tests.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _fired() -> dict[str, Any]:
    rule = next(rule for group in rules()["groups"] for rule in group["rules"] if rule["alert"] == "HeadraceNoController")
    labels = {"severity": "critical", "namespace": "jobs", "release": "headrace"}
    return {"exp_labels": labels, "exp_annotations": rule["annotations"]}


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
