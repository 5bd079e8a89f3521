"""Makes the Grafana dashboard, dashboards/headrace.json, of helm/panels.py: `python -m helm.dashboard`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from helm.panels import ROWS, VARIABLES, Panel

PATH: Final = Path(__file__).parent / "headrace" / "dashboards" / "headrace.json"
_WIDTH: Final = 24  # of the page, in Grafana's columns
_SCHEMA: Final = 39  # Grafana 11.0's; later ones take it as well

Json = dict[str, Any]

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_SOURCE_VARIABLE: Final[Json] = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
# By the panel's kind: its fields' looks, and its options.
_LOOKS: Final[dict[str, tuple[Json, Json]]] = {
    "timeseries": (
        {"custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}},
        {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    ),
    "stat": (
        {},
        {"colorMode": "none", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
    ),
}


def dashboard() -> Json:
    """The dashboard, in Grafana's own schema."""
    return {
        "uid": "headrace",
        "title": "Headrace",
        "tags": ["headrace"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair on all
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_SOURCE_VARIABLE, *(_variable(name, query) for name, query in VARIABLES)]},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[Json]:
    """Row by row, from left to right, numbered from 1."""
    number, y = 0, 0
    for title, panels in ROWS:
        number += 1
        at = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": at, "collapsed": False, "panels": []}
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + panel.height
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x += panel.width
        y += panels[-1].height


def _panel(panel: Panel, number: int, at: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        **({"description": panel.about} if panel.about else {}),
        "gridPos": at,
        "datasource": _SOURCE,
        "targets": [_target(position, *series) for position, series in enumerate(panel.series)],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **_LOOKS[panel.kind][0]}, "overrides": []},
        "options": _LOOKS[panel.kind][1],
    }


def _target(position: int, query: str, legend: str) -> Json:
    return {
        "refId": "ABCDEFGH"[position],
        "datasource": _SOURCE,
        "expr": query,
        "legendFormat": legend or "__auto",
        "range": True,
        "editorMode": "code",
    }


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


def main() -> int:
    """Write it. The exit code: 0."""
    PATH.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
