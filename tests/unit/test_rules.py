"""The alert rules name only metrics and alerts that there are."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY

from autoscaler.model import AlertKind
from telemetry import metrics

RULES = Path(metrics.__file__).parent / "rules" / "headrace.yaml"


def test_every_metric_in_a_rule_exists() -> None:
    named = set(re.findall(r"headrace_\w+", RULES.read_text()))
    there = {sample for family in REGISTRY.collect() for sample in (family.name, f"{family.name}_total")}
    assert named
    assert named <= there


def test_every_alert_kind_in_a_rule_exists() -> None:
    kinds = set(re.findall(r'kind="([\w-]+)"', RULES.read_text()))
    assert kinds
    assert kinds <= {kind.value for kind in AlertKind}
