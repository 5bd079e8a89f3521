"""The dashboard asks for metrics and labels that there are, and its panels lie beside each other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from helm.dashboard import PATH
from telemetry import metrics
from tests.servers import find

DASHBOARD = json.loads(PATH.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}

# The labels that a scrape adds: always, and by the Prometheus Operator's monitors.
SCRAPED = {"job", "instance", "namespace", "pod", "container"}


def _known() -> dict[str, set[str]]:
    """Every series that a program serves, and its labels."""
    known: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = set(metric._labelnames)
            endings = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"}}[family.type]
            known |= {f"{family.name}{ending}": labels | ({"le"} if ending == "_bucket" else set()) for ending in endings}
    for family in REGISTRY.collect():
        if family.name.startswith("process_"):
            known |= {sample.name: set(sample.labels) for sample in family.samples}
    return known


KNOWN = _known()


def _plain(text: str) -> str:
    """Without Grafana's own variables."""
    return text.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$__interval", "1m")


def _expressions() -> list[Any]:
    """(expression, name of its lines) of each series, by its panel."""
    series = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
    return [pytest.param(one["expr"], one["legendFormat"], id=f"{title}-{one['refId']}") for title, one in series]


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    below = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param", "vector_selector")]
    for one in [*below, *(getattr(node, "args", None) or [])]:
        if one is not None:
            yield from _nodes(one)


def _selectors(node: Any) -> list[promql.VectorSelector]:
    return [one for one in _nodes(node) if isinstance(one, promql.VectorSelector)]


def _name(selector: promql.VectorSelector) -> str:
    assert selector.name is not None
    return selector.name


def _labels(selector: promql.VectorSelector) -> set[str]:
    return KNOWN[_name(selector)] | SCRAPED


@pytest.mark.parametrize(("expression", "legend"), _expressions())
def test_each_series_is_there_with_the_labels_that_are_asked_for(expression: str, legend: str) -> None:
    whole = promql.parse(_plain(expression))
    for selector in _selectors(whole):
        assert selector.name in KNOWN
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= _labels(selector), f"{selector.name} has no such label"
        assert "namespace" in matched, "or else it shows what another namespace does"
    for node in _nodes(whole):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql.AggregateExpr) and modifier is not None:
            assert all(set(modifier.labels) <= _labels(one) for one in _selectors(node.expr)[:1])
        elif isinstance(node, promql.BinaryExpr) and modifier is not None and modifier.matching is not None:
            assert all(set(modifier.matching.labels) <= _labels(one) for one in _selectors(node))
    outer = next((node for node in _nodes(whole) if isinstance(node, promql.AggregateExpr)), None)
    kept = set(outer.modifier.labels) if outer is not None and outer.modifier is not None else set()
    assert set(re.findall(r"{{(\w+)}}", legend)) == kept - {"le"}, "a line's name tells it from the others of its series"


@pytest.mark.parametrize(("expression", "legend"), _expressions())
def test_counters_are_never_shown_raw_and_gauges_never_as_rates(expression: str, legend: str) -> None:
    whole = promql.parse(_plain(expression))
    ranged = {_name(one.vector_selector) for one in _nodes(whole) if isinstance(one, promql.MatrixSelector)}
    plain = {_name(one) for one in _selectors(whole)} - ranged
    counting = re.compile(r"_(total|sum|count|bucket)$")
    assert all(counting.search(name) for name in ranged)
    # That there is such a series at all is asked of a count.
    assert not {name for name in plain if counting.search(name)} - {"headrace_event_loop_lag_seconds_count"}


@pytest.mark.needs("promtool")
def test_promtool_takes_every_expression(tmp_path: Path) -> None:
    rules = [{"record": "shown", "expr": _plain(target["expr"])} for panel in PANELS for target in panel["targets"]]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": _numbered(rules)}]}))  # which is YAML too
    done = subprocess.run([find("promtool", "promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _numbered(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule | {"record": f"shown:{number}"} for number, rule in enumerate(rules)]


def test_variables_ask_for_metrics_and_labels_that_there_are() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert {name for name in used if not name.startswith("__")} <= VARIABLES
    assert {"datasource", "namespace", "queue", "workload"} == VARIABLES
    for variable in DASHBOARD["templating"]["list"][1:]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked is not None
        selector, label = asked.groups()
        named = set(re.findall(r"headrace_\w+", selector))
        assert named
        assert named <= KNOWN.keys()
        assert all(label in KNOWN[name] | SCRAPED for name in named)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for panel in everything:
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        assert at["h"] > 0
    for one, other in combinations(everything, 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one['title']} and {other['title']}"


def test_each_panel_asks_the_source_that_is_chosen_and_has_a_title_and_a_unit() -> None:
    titles = [(panel["gridPos"]["y"], panel["title"]) for panel in PANELS]
    assert len(set(titles)) == len(titles)
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_every_metric_is_shown_somewhere() -> None:
    shown = {
        _name(one) for panel in PANELS for target in panel["targets"] for one in _selectors(promql.parse(_plain(target["expr"])))
    }
    ours = {name for name in KNOWN if name.startswith("headrace_")}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    assert families == {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if name.startswith("headrace_")}
