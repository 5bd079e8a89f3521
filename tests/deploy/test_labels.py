"""No label stands twice, whatever the values give: the chart's labels take precedence, then the object's own, then commonLabels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.checks.shape import RECOMMENDED
from tests.deploy.render import Object, combinations, render

pytestmark = pytest.mark.needs("helm")

TWICE: dict[str, dict[str, Any]] = {
    "commonLabels": {"release": "prod", "grafana_dashboard": "0", "team": "jobs"},
    "monitoring": {"podMonitors": True, "rules": True, "dashboard": True, "labels": {"release": "prometheus", "team": "watchers"}},
}


@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_no_key_stands_twice(path: Path) -> None:
    """`render` reads with a loader that refuses it, as the API server does."""
    objects = render(path, TWICE)
    monitors = [one for one in objects if one["kind"] in ("PodMonitor", "ServiceMonitor", "PrometheusRule")]
    assert len(monitors) >= 3
    assert {(one["metadata"]["labels"]["release"], one["metadata"]["labels"]["team"]) for one in monitors} == {
        ("prometheus", "watchers")
    }
    (dashboard,) = (one for one in objects if one["metadata"]["name"].endswith("-dashboard"))
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    for one in objects:
        if one not in (*monitors, dashboard):
            assert TWICE["commonLabels"].items() <= labels(one).items()
        assert labels(one).keys() >= RECOMMENDED


def test_the_services_own_go_before_those_of_all() -> None:
    given = {"commonLabels": {"team": "jobs", "tier": "back"}, "gateway": {"service": {"labels": {"team": "web"}}}}
    (service,) = (one for one in render(given) if one["kind"] == "Service" and one["metadata"]["name"].endswith("-gateway"))
    assert {"team": "web", "tier": "back", "app.kubernetes.io/name": "headrace"}.items() <= labels(service).items()


def labels(one: Object) -> dict[str, str]:
    return dict(one["metadata"]["labels"])
