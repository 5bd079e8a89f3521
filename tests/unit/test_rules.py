"""The alert rules name only metrics and alerts that there are."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY

from autoscaler.model import AlertKind
from consumer.settle import Settler
from consumer.tally import Tally
from core.chance import SeededChance
from core.clock import ManualClock
from core.model import Reason
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


def test_what_an_alert_waits_for_an_increase_of_is_there_before_it_happens() -> None:
    clock = ManualClock()
    Settler("never-used", None, clock, SeededChance(1, clock), Tally(), None)
    assert all(_value("headrace_dead_letters_total", queue="never-used", reason=reason.value) == 0 for reason in Reason)
    assert _value("headrace_claims_lost_total", queue="never-used") == 0


def _value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)
