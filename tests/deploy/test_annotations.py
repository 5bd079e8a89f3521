"""Annotations of objects: those of all, those of one kind over them, and those by which Helm and the chart act over both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.release import Release
from tests.deploy.render import Object, combinations, refused

pytestmark = pytest.mark.needs("helm")

COMMON = {"example.com/owner": "jobs", "example.com/kind": "any"}


@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_every_object_has_them_and_no_pod_that_one_makes(path: Path) -> None:
    release = Release.of(path, {"commonAnnotations": COMMON})
    for one in release.objects:
        assert COMMON.items() <= annotations_of(one).items(), one
    assert [str(pod) for pod in release.workloads if pod.kind != "Pod" and "example.com/kind" in annotations_of(pod.pod)] == []


def test_an_objects_own_go_before_them_an_empty_one_too() -> None:
    own = {"example.com/kind": "", "example.com/mine": "yes"}
    release = Release.of(
        {
            "commonAnnotations": COMMON,
            "podAnnotations": own,
            "networkPolicy": {"annotations": own},
            "serviceAccount": {"annotations": own},
            "gateway": {"service": {"annotations": own}, "ingress": {"enabled": True, "hosts": ["a.example"], "annotations": own}},
        }
    )
    with_own = [*release.kinds("NetworkPolicy", "Ingress", "Pod"), release.named("ServiceAccount", "headrace-programs") or {}]
    assert len(with_own) > 8
    for one in [*with_own, release.named("Service", "headrace-gateway") or {}]:
        assert (COMMON | own).items() <= annotations_of(one).items(), one


def test_hooks_and_kept_secrets_stay_what_they_are() -> None:
    dev = {"keep": True}
    release = Release.of({"commonAnnotations": COMMON, "rabbitmq": {"dev": dev}, "redis": {"dev": dev}})
    kept = [one["metadata"]["name"] for one in release.objects if annotations_of(one).get("helm.sh/resource-policy") == "keep"]
    assert sorted(kept) == ["headrace-rabbitmq-user", "headrace-redis"]
    hooks = {one["kind"]: annotations_of(one)["helm.sh/hook"] for one in release.objects if "helm.sh/hook" in annotations_of(one)}
    assert hooks == {"Job": "post-install,post-upgrade,post-rollback", "Pod": "test"}


@pytest.mark.parametrize("name", ["helm.sh/hook", "meta.helm.sh/release-name", "headrace/replicas"])
def test_what_helm_and_the_chart_act_by_is_refused_for_all(name: str) -> None:
    given: dict[str, Any]
    for given in ({"commonAnnotations": {name: "x"}}, {"networkPolicy": {"annotations": {name: "x"}}}):
        assert f"nnotations.{name}" in refused(given)


def test_one_value_says_how_many_old_revisions_are_kept() -> None:
    release = Release.of({"revisionHistoryLimit": 0})
    found = {one["metadata"]["name"]: one["spec"]["revisionHistoryLimit"] for one in release.kinds("Deployment", "StatefulSet")}
    assert len(found) == 7
    assert set(found.values()) == {0}


def annotations_of(one: Object) -> dict[str, str]:
    return dict(one["metadata"].get("annotations") or {})
