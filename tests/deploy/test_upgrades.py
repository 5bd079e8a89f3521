"""The parts that an upgrade may not change, releases side by side, and names of any length."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.checks.shape import identities_are_unique, names_can_be_used, selectors_last
from tests.deploy.release import Release, known_as
from tests.deploy.render import CHART, Object, combinations, render

pytestmark = pytest.mark.needs("helm")

# Of a StatefulSet's specification these may be changed; the API server refuses a change of anything else in it.
CHANGEABLE = {"replicas", "ordinals", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"}
CHANGEABLE |= {"revisionHistoryLimit"}


def fixed(one: Object) -> Any:
    """The parts of an object that the API server does not let change."""
    spec: dict[str, Any] = one.get("spec") or {}
    parts: dict[str, Callable[[], Any]] = {
        "Deployment": lambda: spec["selector"],
        "StatefulSet": lambda: {key: value for key, value in spec.items() if key not in CHANGEABLE},
        "PersistentVolumeClaim": lambda: {key: value for key, value in spec.items() if key != "resources"},
        "RoleBinding": lambda: one["roleRef"],
        "Secret": lambda: one.get("type"),
        "Job": lambda: spec,
    }
    return parts.get(one["kind"], lambda: None)()


def _fixed(objects: tuple[Object, ...]) -> dict[str, Any]:
    kept = [one for one in objects if "helm.sh/hook" not in one["metadata"].get("annotations", {})]
    return {known_as(one): fixed(one) for one in kept}


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same chart, of a later version."""
    chart = tmp_path_factory.mktemp("newer") / "headrace"
    shutil.copytree(CHART, chart)
    file = chart / "Chart.yaml"
    file.write_text(re.sub(r"(?m)^(version|appVersion): .*$", r'\1: "99.1.2"', file.read_text(encoding="utf-8")), encoding="utf-8")
    return chart


@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_an_upgrade_is_no_refusal(path: Path, newer: Path) -> None:
    """To a later chart, with labels and other things that may be said later."""
    later = {"commonLabels": {"team": "later"}, "podAnnotations": {"a": "b"}, "imagePullSecrets": [{"name": "later"}]}
    before, after = _fixed(render(path)), _fixed(render(path, later, chart=newer))
    assert before == after


@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_a_later_chart_alone_replaces_no_pods(path: Path, newer: Path, tmp_path: Path) -> None:
    """With the same image nothing of a pod changes: a label with the chart's version on it would restart everything for nothing."""
    same = tmp_path / "headrace"
    shutil.copytree(newer, same)
    app = re.search(r"(?m)^appVersion: .*$", (CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert app
    text = (same / "Chart.yaml").read_text(encoding="utf-8")
    (same / "Chart.yaml").write_text(re.sub(r"(?m)^appVersion: .*$", app[0], text), encoding="utf-8")
    before, after = Release.of(path).workloads, Release(render(path, chart=same), {}).workloads
    changed = [str(was) for was, now in zip(before, after, strict=True) if was.pod != now.pod and was.kind != "Pod"]
    assert changed == []


def test_two_releases_in_one_namespace_do_not_meet() -> None:
    one, other = Release.of(name="one"), Release.of(name="other")
    assert not {known_as(found) for found in one.objects} & {known_as(found) for found in other.objects}
    for workload in one.workloads:
        for service in other.kinds("Service"):
            assert not service["spec"]["selector"].items() <= workload.labels.items()
        for found in other.objects:
            if found["kind"] in {"Deployment", "StatefulSet"}:
                assert not found["spec"]["selector"]["matchLabels"].items() <= workload.labels.items()


def test_who_reads_its_configuration_once_is_started_anew() -> None:
    """A broker and a store read their files when they start: where these change, so does the pod."""
    before, after = Release.of(), Release.of({"rabbitmq": {"dev": {"memoryHighWatermark": "123MB"}}})
    changed = [now for was, now in zip(before.kinds("ConfigMap"), after.kinds("ConfigMap"), strict=True) if was != now]
    assert changed, "this value changes no file"
    for one in changed:
        for was, now in zip(before.workloads, after.workloads, strict=True):
            if f"'name': '{one['metadata']['name']}'" in str(now.spec.get("volumes")) and now.component in {"rabbitmq", "redis"}:
                assert was.pod != now.pod, f"{now} goes on with what it read"


@pytest.mark.parametrize("name", ["a", "headrace", "1st", "x" * 53, "a.b"])
@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_names_of_any_length(path: Path, name: str) -> None:
    """Helm takes 53 characters, and dots, which names of Services may not have."""
    try:
        release = Release.of(path, {"consumers": {"abcdefghij0123456789ab": {"queues": ["other"]}}}, name=name)
    except ValueError as refusal:
        assert name in str(refusal), "refused, and not because of the name"  # noqa: PT017  # a refusal that says why is as good
        return
    for check in (identities_are_unique, names_can_be_used, selectors_last):
        assert list(check(release)) == []
