"""docs/gitops.md: its examples render, alike each time and without a password, and its tables say what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.release import Release
from tests.deploy.render import Object, manifest, merged, render

pytestmark = pytest.mark.needs("helm")

PAGE = (Path(__file__).parents[2] / "docs/gitops.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, Any] = {
    one["kind"]: one for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for one in [yaml.safe_load(block)]
}
# Values that make a release mount a Secret that a plain release does without.
NEEDED: dict[str, Any] = {
    "rabbitmq.external": {"rabbitmq": {"mode": "external"}, "gateway": {"apiKeys": {"open": True}}},
    "rabbitmq.operator": {"rabbitmq": {"mode": "operator"}, "gateway": {"apiKeys": {"open": True}}},
    "redis.external": {"redis": {"mode": "external"}},
}


def values_of(kind: str) -> dict[str, Any]:
    spec = EXAMPLES[kind]["spec"]
    return dict(spec["source"]["helm"]["valuesObject"] if kind == "Application" else spec["values"])


@pytest.mark.parametrize("kind", ["Application", "HelmRelease"])
def test_an_example_renders_alike_each_time(kind: str) -> None:
    first, again = (manifest(values_of(kind), {"global": {"again": n}}, passwords=False, namespace="headrace") for n in (1, 2))
    assert first == again
    assert "kind: Secret\n" not in first


def _scaled(kind: str, more: dict[str, Any] | None = None) -> list[Object]:
    objects = render(values_of(kind), more or {}, passwords=False, name=EXAMPLES[kind]["metadata"]["name"])
    return [one for one in objects if one["kind"] == "Deployment" and "replicas" not in one["spec"]]


def test_argo_cd_ignores_the_replicas_that_nobody_names() -> None:
    spec = EXAMPLES["Application"]["spec"]
    ignored = {one["name"] for one in spec["ignoreDifferences"] if one["jsonPointers"] == ["/spec/replicas"]}
    assert ignored == {one["metadata"]["name"] for one in _scaled("Application")}
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]


def test_flux_ignores_them_by_label() -> None:
    (rule,) = EXAMPLES["HelmRelease"]["spec"]["driftDetection"]["ignore"]
    some = re.fullmatch(r"app.kubernetes.io/component in \((.*)\)", rule["target"]["labelSelector"])
    assert some
    scaled = _scaled("HelmRelease", {"gateway": {"autoscaling": {"enabled": True}}})
    assert {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in scaled} == set(some[1].split(", "))


def _secrets() -> dict[str, set[str]]:
    """By the value that names it, the keys that the page lists; none where any will do."""
    rows = re.findall(r"^\| `([\w.]+\.existingSecret)` \| (.*?) \|", PAGE, re.MULTILINE)
    return {value: set(re.findall(r"`([\w.]+)`", keys)) for value, keys in rows}


@pytest.mark.parametrize("value", _secrets())
def test_a_secret_has_the_keys_that_pods_read(value: str) -> None:
    part = value.removesuffix(".existingSecret")
    given: Any = "mine"
    for key in reversed(value.split(".")):
        given = {key: given}
    release = Release.of(merged(NEEDED.get(part, {}), given))
    read = {
        item["key"]
        for one in _sources(release)
        if one.get("secretName", one.get("name")) == "mine"
        for item in one.get("items", [])
    }
    read |= {ref["key"] for ref in _references(release) if ref["name"] == "mine"}
    if part == "rabbitmq.operator":  # what the operator reads itself
        read |= {"username", "password"}
    assert read == _secrets()[value]


def _sources(release: Release) -> list[Object]:
    volumes = [volume for workload in release.workloads for volume in workload.spec.get("volumes", [])]
    every = [source for volume in volumes for source in (volume, *volume.get("projected", {}).get("sources", []))]
    found = [source["secret"] for source in every if "secret" in source]
    assert found
    return found


def _references(release: Release) -> list[Object]:
    env = [one for workload in release.workloads for container in workload.containers for one in container.get("env", [])]
    return [one["valueFrom"]["secretKeyRef"] for one in env if "secretKeyRef" in one.get("valueFrom", {})]


def test_every_hook_is_on_the_page() -> None:
    hooks = {
        f"{one['kind']} `{one['metadata']['name']}`"
        for one in render({})
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }
    assert set(re.findall(r"^\| (\w+ `[\w-]+`) \|", PAGE, re.MULTILINE)) == hooks


def test_no_policy_has_a_list_that_the_api_server_does_not_store() -> None:
    """An empty one would be a difference at every sync: a consumer's, where no mail server of the chart's is reached."""
    policies = [one for one in render({"mail": {"mode": "none"}}) if one["kind"] == "NetworkPolicy"]
    assert any("egress" not in one["spec"] and "Egress" in one["spec"]["policyTypes"] for one in policies)
    for one in policies:
        assert [] not in (one["spec"].get("ingress"), one["spec"].get("egress")), one["metadata"]["name"]
