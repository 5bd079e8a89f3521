"""A rendered release, and how to walk it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.render import CHART, Object, Values, merged, render

_POD_IN = {  # where the pod's template is
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
LONG_RUNNING = {"Deployment", "StatefulSet", "DaemonSet"}


@dataclass(frozen=True)
class Workload:
    """An object that makes pods, or a pod."""

    one: Object
    pod: Object  # its metadata and spec

    def __str__(self) -> str:
        return known_as(self.one)

    @property
    def kind(self) -> str:
        return str(self.one["kind"])

    @property
    def name(self) -> str:
        return str(self.one["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        """Of its pods."""
        return dict(self.pod["metadata"].get("labels") or {})

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def spec(self) -> Object:
        return dict(self.pod["spec"])

    @property
    def main(self) -> list[Object]:
        return list(self.spec["containers"])

    @property
    def containers(self) -> list[Object]:
        """Those that come first, too."""
        return [*self.spec.get("initContainers", []), *self.main]

    def ports(self) -> dict[str | int, int]:
        """By name and by number."""
        listed = [port for container in self.main for port in container.get("ports", [])]
        return {key: port["containerPort"] for port in listed for key in (port.get("name"), port["containerPort"]) if key}


@dataclass(frozen=True)
class Release:
    """objects: what was rendered. values: what with, the chart's defaults among it. known: what checks have found out of it."""

    objects: tuple[Object, ...]
    values: Object
    namespace: str = "jobs"
    known: dict[tuple[str, str], Any] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, *values: Values, **options: Any) -> Release:
        whole = _file(CHART / "values.yaml")
        for one in values:
            whole = merged(whole, _file(one) if isinstance(one, Path) else one)
        return cls(render(*values, **options), whole, options.get("namespace", "jobs"))

    def kinds(self, *kinds: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object | None:
        return next((one for one in self.kinds(kind) if one["metadata"]["name"] == name), None)

    @cached_property
    def workloads(self) -> list[Workload]:
        return [Workload(one, _at(one, _POD_IN[one["kind"]])) for one in self.objects if one["kind"] in _POD_IN]

    def selected(self, labels: dict[str, str]) -> list[Workload]:
        """Whose pods these labels select."""
        return [workload for workload in self.workloads if labels.items() <= workload.labels.items()]

    def chosen(self, selector: Object) -> list[Workload]:
        """The same by matchLabels and matchExpressions."""
        return [workload for workload in self.workloads if matches(selector, workload.labels)]

    def made(self) -> set[str]:
        """Secrets that come to be by operators, from objects of this release."""
        users = {f"{one['metadata']['name']}-user-credentials" for one in self.kinds("User")}
        return users | {f"{one['metadata']['name']}-default-user" for one in self.kinds("RabbitmqCluster")}

    def named_in_values(self, name: str) -> bool:
        """Whether the name is the user's: it stands in the values."""
        return any(value == name for _, value in leaves(self.values))


@cache
def _file(path: Path) -> Object:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def known_as(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """As a LabelSelector does; an empty one matches everything."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    return all(_expression(one, labels) for one in selector.get("matchExpressions") or [])


def _expression(one: Object, labels: dict[str, str]) -> bool:
    value = labels.get(one["key"])
    return {
        "In": lambda: value in one["values"],
        "NotIn": lambda: value not in one["values"],
        "Exists": lambda: value is not None,
        "DoesNotExist": lambda: value is None,
    }[one["operator"]]()


def contents(one: Object) -> dict[str, str]:
    """The content of a ConfigMap or Secret."""
    plain = {**(one.get("stringData") or {}), **((one.get("data") or {}) if one["kind"] == "ConfigMap" else {})}
    coded = (one.get("data") or {}) if one["kind"] == "Secret" else {}
    return {key: base64.b64decode(value).decode() for key, value in coded.items()} | plain


def leaves(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping and no list, with its path. An empty mapping or list has none."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}[{index}]")
    else:
        yield path, value


def _at(one: Object, path: tuple[str, ...]) -> Object:
    for key in path:
        one = one[key]
    return one
