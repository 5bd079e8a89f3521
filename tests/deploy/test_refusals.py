"""Values that cannot work are refused before anything is made, in words that name the value and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from core.settings import PREFIX
from tests.deploy.checks.environment import programs
from tests.deploy.files import variables
from tests.deploy.release import Release
from tests.deploy.render import combinations, refused

pytestmark = pytest.mark.needs("helm")

REFUSED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"rabbitmq": {"mode": "external"}}, ("rabbitmq.external.existingSecret", "rabbitmq.mode")),
    ({"redis": {"mode": "external"}}, ("redis.external.existingSecret", "redis.mode")),
    ({"mail": {"mode": "external"}}, ("mail.host",)),
    ({"rabbitmq": {"mode": "operator"}}, ("gateway.apiKeys",)),
    (
        {"gateway": {"apiKeys": {"open": True, "existingSecret": "keys"}}},
        ("gateway.apiKeys.open", "gateway.apiKeys.existingSecret"),
    ),
    ({"gateway": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}}, ("minReplicas", "maxReplicas")),
    ({"gateway": {"ingress": {"enabled": True}}}, ("gateway.ingress.hosts",)),
    ({"gateway": {"httpRoute": {"enabled": True}}}, ("gateway.httpRoute.parentRefs",)),
    ({"gateway": {"service": {"nodePort": 30080}}}, ("gateway.service.nodePort",)),
    ({"consumers": {"payouts": {"queues": ["points", "payouts"]}}}, ("points", "consumers.")),
    ({"consumers": {"payouts": {"min": 5, "max": 4}}}, ("consumers.payouts.min",)),
    ({"consumers": {"payouts": {"prefetch": 8}}}, ("consumers.payouts.prefetch",)),
    ({"consumers": {"payouts": {"policy": {"max_replicas": 4}}}}, ("consumers.payouts.policy.max_replicas",)),
    (
        {"controller": {"enabled": False}, "consumers": {"payouts": {"min": 0}}},
        ("consumers.payouts.min", "controller.enabled"),
    ),
    ({"consumers": {"payouts": {"mode": "job", "min": 1}}}, ("consumers.payouts.min", "mode is job")),
    ({"consumers": {"payouts": {"mode": "job", "concurrency": 4}}}, ("consumers.payouts.concurrency", "mode is job")),
    ({"consumers": {"registration": {"mode": "job"}}}, ("consumers.registration.queues", "mode is job")),
    (
        {"consumers": {"payouts": {"mode": "job", "podDisruptionBudget": {"enabled": True}}}},
        ("consumers.payouts.podDisruptionBudget.enabled", "mode is job"),
    ),
    (
        {"consumers": {"payouts": {"mode": "job", "policy": {"floors": [{"cron": "0 9 * * *", "replicas": 2}]}}}},
        ("consumers.payouts.policy.floors", "mode is job"),
    ),
    (
        {"controller": {"enabled": False}, "consumers": {"payouts": {"mode": "job"}}},
        ("consumers.payouts.mode", "controller.enabled"),
    ),
    (
        {"controller": {"replicas": 0}, "consumers": {"payouts": {"mode": "job"}}},
        ("consumers.payouts.mode", "controller.replicas"),
    ),
    ({"consumers": {"payouts": {"mode": "cron"}}}, ("payouts", "mode")),
    (
        {"controller": {"dryRun": True}, "consumers": {"payouts": {"min": 0}}},
        ("consumers.payouts.min", "controller.dryRun"),
    ),
    ({"controller": {"replicas": 0}, "consumers": {"payouts": {"min": 0}}}, ("consumers.payouts.min", "controller.replicas")),
    ({"consumerDefaults": {"enabled": False}}, ("consumers", "enable one", "controller.enabled")),
    ({"consumers": {"payouts": {"env": [{"name": "HEADRACE_QUEUES", "value": "email"}]}}}, ("payouts", "HEADRACE_QUEUES")),
    ({"gateway": {"settings": {"NO_SUCH": 1}}}, ("NO_SUCH",)),
    ({"controller": {"settings": {"NO_SUCH": 1}}}, ("NO_SUCH",)),
    ({"commonLabels": {"app.kubernetes.io/component": "mine"}}, ("app.kubernetes.io/component",)),
    ({"monitoring": {"labels": {"app.kubernetes.io/name": "mine"}}}, ("monitoring.labels.app.kubernetes.io/name",)),
    ({"monitoring": {"dashboardLabels": {"helm.sh/chart": "mine"}}}, ("monitoring.dashboardLabels.helm.sh/chart",)),
    ({"commonLabels": {"team": "no label"}}, ("team",)),
    ({"nameOverride": "Not_A_Name"}, ("nameOverride",)),
    ({"nameOverride": "x" * 64}, ("nameOverride",)),
    ({"fullnameOverride": "Not_A_Name"}, ("fullnameOverride",)),
    ({"controller": {"traceUrl": "http://tempo.example/"}}, ("controller.traceUrl", "{trace_id}")),
    ({"controller": {"alertUrl": "http://user:word@alerts.example"}}, ("controller.alertUrl",)),
    ({"controller": {"prometheusUrl": "http://user:word@prometheus.example"}}, ("controller.prometheusUrl",)),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=lambda one: one[0] if isinstance(one, tuple) else "")
def test_it_says_what_to_mend(values: dict[str, Any], words: tuple[str, ...]) -> None:
    said = refused(values)
    assert said
    assert [word for word in words if word not in said] == []
    assert "nil pointer" not in said


def test_all_complaints_come_at_once() -> None:
    said = refused({"rabbitmq": {"mode": "external"}, "redis": {"mode": "external"}, "mail": {"mode": "external"}})
    assert all(word in said for word in ("rabbitmq.external", "redis.external", "mail.host"))


PLACES = {"service": "gateway", "consumer": "consumerDefaults", "autoscaler": "controller"}
# How logs look, and how often a queue is copied: the chart has a default, and another value breaks nothing.
FREE = {"LOG_FORMAT", "REPLICATION_FACTOR"}


def _decided(program: str) -> set[str]:
    """Each setting of that program that the chart makes of values with names of their own."""
    found: set[str] = set()
    for release in (Release.of(path) for path in combinations()):
        for _, container, which in programs(release):
            names = {name.removeprefix(PREFIX) for name in variables(release, container) if name.startswith(PREFIX)}
            found |= names - FREE - _said(release) if which == program else set()
    return found


def _said(release: Release) -> set[str]:
    """The names that the combination itself gives in `settings`, here or there."""
    values, entries = release.values, release.values["consumers"].values()
    places = [values, *(values[place] for place in PLACES.values()), *(entry or {} for entry in entries)]
    return {name for place in places for name in place.get("settings") or {}}


@pytest.mark.parametrize("place", ["its own", "all"])
@pytest.mark.parametrize("program", PLACES)
def test_what_the_chart_decides_is_not_said_twice(program: str, place: str) -> None:
    """In `settings` too it would hold for the program, and not for what the chart makes around it: grace periods, ports, rights."""
    decided = _decided(program)
    assert decided
    passed = []
    for name in sorted(decided):
        values: dict[str, Any] = {"settings": {name: "7"}}
        said = refused({PLACES[program]: values} if place == "its own" else values)
        passed += [] if name in said else [name]
    assert passed == [], "in `settings` these go before the values that the chart has for them"
