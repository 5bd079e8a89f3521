"""Entries of `consumers`: taken away, and cleared of what is below, alone and in a chart that has this one as a dependency."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.checks import ALL
from tests.deploy.release import Release
from tests.deploy.render import CHART, Object, refused, render
from tests.servers.helm import helm, helms3, helms3_looked_for

pytestmark = pytest.mark.needs("helm")

Rendering = Callable[[dict[str, Any]], tuple[Object, ...]]
BELOW: dict[str, Any] = {
    "nodeSelector": {"pool": "workers", "disk": "ssd"},
    "tolerations": [{"key": "workers", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [],
    "env": [{"name": "MINE", "value": "a"}],
    "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "policy": {"drain_target": 10},
    "settings": {"CLAIM_LEASE": "30"},
    "volumes": [{"name": "mine", "emptyDir": {}}],
    "volumeMounts": [{"name": "mine", "mountPath": "/mine"}],
    "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
}


def _programs() -> list[Path]:
    return [helm(), *(helms3() if helms3_looked_for() else [])]


@pytest.fixture(params=["alone", "as a dependency, by its values.yaml", "as a dependency, by --values"])
def rendering(request: pytest.FixtureRequest, tmp_path: Path) -> Rendering:
    """The chart with these values, alike by every Helm."""

    def alike(values: dict[str, Any]) -> tuple[Object, ...]:
        first, *others = (_rendered(request.param, values, tmp_path, program) for program in _programs())
        assert all(_plain(other) == _plain(first) for other in others)
        return first

    return alike


def _rendered(how: str, values: dict[str, Any], folder: Path, program: Path) -> tuple[Object, ...]:
    if how == "alone":
        return render(values, program=program)
    by_file = how.endswith("values.yaml")
    return render(
        *([] if by_file else [{"jobs": values}]), chart=parent(folder, values if by_file else {}), program=program, below="jobs"
    )


def parent(folder: Path, values: dict[str, Any]) -> Path:
    """A chart of somebody's own that has this one as `jobs`; of its own name each time, for renders are kept by name."""
    chart = folder / f"parent-{len(list(folder.iterdir()))}"
    (chart / "charts").mkdir(parents=True)
    (chart / "charts/headrace").symlink_to(CHART)
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    about = {"apiVersion": "v2", "name": "shop", "version": "1.0.0"}
    (chart / "Chart.yaml").write_text(
        json.dumps(about | {"dependencies": [{"name": "headrace", "alias": "jobs", "version": version}]})
    )
    (chart / "values.yaml").write_text(json.dumps({"jobs": values}))
    return chart


def _plain(objects: tuple[Object, ...]) -> list[Object]:
    return [one for one in objects if one["kind"] != "Secret"]


def consumer(objects: tuple[Object, ...], name: str) -> tuple[Object, Object]:
    """Its pods' specification, and the container in it."""
    (one,) = (
        one
        for one in objects
        if one["kind"] == "Deployment" and one["spec"]["template"]["metadata"]["labels"].get("headrace/consumer") == name
    )
    spec = one["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def test_entries_that_are_there_by_default_are_taken_away(rendering: Rendering) -> None:
    values = {
        "registration": {"enabled": False},
        "payouts": {"enabled": False},
        "mine": {"queues": ["email", "points", "payouts"]},
    }
    objects = rendering({"consumers": values})
    release = Release(objects, Release.of({"consumers": values}).values)
    assert [f"{check.__name__}: {complaint}" for check in ALL for complaint in check(release)] == []
    assert not [one for one in objects if "registration" in json.dumps(one) and one["kind"] != "ConfigMap"], "the dashboard's may"
    assert consumer(objects, "mine")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_parent_chart_leaves_it_out_by_a_condition(wanted: bool, tmp_path: Path) -> None:
    """As charts have it by convention: jobs.enabled."""
    chart = parent(tmp_path, {"enabled": wanted})
    about = json.loads((chart / "Chart.yaml").read_text(encoding="utf-8"))
    about["dependencies"][0]["condition"] = "jobs.enabled"
    (chart / "Chart.yaml").write_text(json.dumps(about))
    for program in _programs():
        assert bool(render({}, chart=chart, program=program, below="jobs")) is wanted


def test_all_are_taken_away_where_the_gateway_is_alone(rendering: Rendering) -> None:
    objects = rendering({"consumerDefaults": {"enabled": False}, "controller": {"enabled": False}})
    kinds = [one["metadata"]["name"].rpartition("-")[2] for one in objects if one["kind"] == "Deployment"]
    assert sorted(kinds) == ["gateway", "mail"]


def test_an_entry_has_what_is_below_and_more(rendering: Rendering) -> None:
    more = {"nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}], "resources": {"requests": {"memory": "2Gi"}}}
    objects = rendering({"consumerDefaults": BELOW, "consumers": {"payouts": more}})
    spec, container = consumer(objects, "payouts")
    assert spec["nodeSelector"] == {"pool": "workers", "disk": "ssd", "zone": "a"}
    assert spec["tolerations"] == [{"operator": "Exists"}], "a list is replaced"
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


def test_an_empty_mapping_or_list_clears_what_is_below(rendering: Rendering) -> None:
    clear: dict[str, Any] = {key: type(value)() for key, value in BELOW.items()} | {"topologySpreadConstraints": []}
    objects = rendering({"consumerDefaults": BELOW, "consumers": {"payouts": clear}})
    spec, container = consumer(objects, "payouts")
    assert spec.keys() & {"nodeSelector", "tolerations", "affinity"} == set()
    assert spec["topologySpreadConstraints"] == []
    assert container["resources"] == {}
    text = json.dumps([spec, _controller(objects)["headrace-consumer-payouts"]])
    assert not [word for word in ("MINE", "mine", "HEADRACE_CLAIM_LEASE", "drain_target") if word in text]
    (policy,) = (one for one in objects if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].endswith("consumer-payouts"))
    assert "443" not in json.dumps(policy)
    spec, container = consumer(objects, "registration")
    assert (spec["nodeSelector"], container["resources"]["limits"]) == (BELOW["nodeSelector"], BELOW["resources"]["limits"])


def _controller(objects: tuple[Object, ...]) -> dict[str, str]:
    """The controller's setting for each workload, by the name that a release `headrace` gives it, as JSON."""
    (one,) = (one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("-controller"))
    env = {each["name"]: each.get("value") for each in one["spec"]["template"]["spec"]["containers"][0]["env"]}
    told = json.loads(str(env["HEADRACE_WORKLOADS"]))
    return {f"headrace-consumer-{each['name'].rpartition('-consumer-')[2]}": json.dumps(each) for each in told}


@pytest.mark.parametrize(
    ("own", "left"),
    [
        ({"limits": {}}, {"requests": {"cpu": "50m", "memory": "128Mi"}}),
        ({"limits": {"cpu": ""}}, {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}),
        ({"requests": {"cpu": "", "memory": ""}}, {"limits": {"cpu": "1", "memory": "1Gi"}}),
    ],
)
def test_one_quantity_goes(rendering: Rendering, own: dict[str, Any], left: dict[str, Any]) -> None:
    objects = rendering({"consumerDefaults": BELOW, "consumers": {"payouts": {"resources": own}}})
    assert consumer(objects, "payouts")[1]["resources"] == left


@pytest.mark.parametrize("key", BELOW)
def test_null_clears_too_where_helm_lets_it_through(key: str) -> None:
    """All but Helm 4 with a parent's values.yaml, which drops it: then what is below stays."""
    for program in _programs():
        objects = render({"consumerDefaults": BELOW, "consumers": {"payouts": {key: None}}}, program=program)
        empty: list[Any] | dict[str, Any] = [] if isinstance(BELOW[key], list) else {}
        if key != "topologySpreadConstraints":  # null is a value there: pods are spread
            assert _plain(objects) == _plain(render({"consumerDefaults": BELOW, "consumers": {"payouts": {key: empty}}}))
    some = {"nodeSelector": {"disk": None}, "resources": {"limits": {"cpu": None}}}
    spec, container = consumer(render({"consumerDefaults": BELOW, "consumers": {"payouts": some}}), "payouts")
    assert (spec["nodeSelector"], container["resources"]["limits"]) == ({"pool": "workers"}, {"memory": "1Gi"})


@pytest.mark.parametrize("values", [{"queues": None}, {"min": None}, {"podDisruptionBudget": None}, {"enabled": "no"}])
def test_what_has_no_empty_value_is_not_cleared(values: dict[str, Any]) -> None:
    assert refused({"consumers": {"mine": {"queues": ["payouts"], **values}}})
