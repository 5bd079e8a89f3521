"""The objects that the chart renders. One run of Helm takes 0.05 s; the same run is made once."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.schemas import versions
from tests.servers import helm

CHART = Path(__file__).parents[2] / "helm/headrace"
OLDEST = 30  # Kubernetes 1.30 is the oldest that the chart supports
NEWEST = versions(OLDEST)[-1]
# The oldest, the newest that there are schemas of, and two between: what most providers offer, and what the cluster tests run on.
VERSIONS = sorted({f"1.{OLDEST}", "1.33", "1.35", NEWEST})
# The APIs of a cluster that has every optional one.
OPTIONAL = (
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1/HTTPRoute",
    "monitoring.coreos.com/v1",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "rabbitmq.com/v1beta1",
    "rabbitmq.com/v1beta1/RabbitmqCluster",
)

Object = dict[str, Any]
Values = Path | Mapping[str, Any]


def combinations() -> list[Path]:
    """The files of values that stand for every combination that matters."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def render(*values: Values, **options: Any) -> tuple[Object, ...]:
    """The objects, hooks among them. values: files, and mappings, which go over the files.

    Options: name and namespace of the release, kube_version, api_versions (all optional ones, unless said), chart, program
    (another Helm), passwords (False: without offlinePasswords, as a user who applies a render does), below (the name under which a
    parent chart has this one as a dependency).
    The objects are shared with other renders of the same values: they are not to be changed. Raises ValueError with Helm's refusal.
    """
    return _parsed(manifest(*values, **options))


def manifest(*values: Values, **options: Any) -> str:
    """The same as text."""
    done = _run(_keys(values), **_frozen(options))
    if done.startswith(_REFUSED):
        raise ValueError(done.removeprefix(_REFUSED))
    return done


def refused(*values: Values, **options: Any) -> str:
    """The error of Helm where it renders nothing; empty where it does render."""
    done = _run(_keys(values), **_frozen(options))
    return done.removeprefix(_REFUSED) if done.startswith(_REFUSED) else ""


def notes(*values: Values, name: str = "headrace") -> str:
    """The notes that Helm 4 prints at an install. (Helm 3 asks a cluster before it does.)"""
    files, given = _arguments(_keys(values))
    command = ["install", name, str(CHART), "--dry-run=client", "--set=offlinePasswords=true", *files]
    done = helm.run(helm.helm(), *command, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


_REFUSED = "\0refused: "


@functools.cache
def _run(
    values: tuple[str, ...],
    name: str,
    namespace: str,
    kube_version: str,
    api_versions: tuple[str, ...],
    chart: Path,
    program: Path | None,
    passwords: bool,
    below: str,
) -> str:
    files, given = _arguments(values)
    command = ["template", name, str(chart), f"--namespace={namespace}", f"--kube-version={kube_version}.0", *files]
    command += [f"--set={f'{below}.' if below else ''}offlinePasswords=true"] * passwords
    command += [f"--api-versions={one}" for one in api_versions]
    done = helm.run(program or helm.helm(), *command, given=given)
    return done.stdout if done.returncode == 0 else _REFUSED + done.stderr


def _frozen(options: dict[str, Any]) -> dict[str, Any]:
    default = {"name": "headrace", "namespace": "jobs", "kube_version": NEWEST, "api_versions": OPTIONAL}
    return {**default, "chart": CHART, "program": None, "passwords": True, "below": "", **options}


def _keys(values: Sequence[Values]) -> tuple[str, ...]:
    return tuple(str(one) if isinstance(one, Path) else json.dumps(one) for one in values)


def _arguments(values: tuple[str, ...]) -> tuple[list[str], str]:
    """Files go by name; of the mappings all become one, which Helm reads from standard input."""
    files = [f"--values={one}" for one in values if not one.startswith("{")]
    given: dict[str, Any] = {}
    for one in values:
        given = merged(given, json.loads(one)) if one.startswith("{") else given
    return (files + ["--values=-"] * bool(given)), json.dumps(given)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm merges values: mappings key by key, all else as a whole."""
    both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys() if _maps(below[key], above[key])}
    return {**below, **above, **both}


def _maps(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)


@functools.cache
def _parsed(text: str) -> tuple[Object, ...]:
    return tuple(one for one in yaml.load_all(text, Loader=Strict) if one)


class Strict(yaml.CSafeLoader):
    """As Helm and the API server read: a key that stands twice in one mapping is refused, 1e3 is a number, and y is true."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"keys that stand twice: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


Strict.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))
Strict.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]$"), list("yYnN"))
Strict.bool_values = yaml.CSafeLoader.bool_values | {"y": True, "n": False}
