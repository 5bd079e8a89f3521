"""How many replicas a manifest names: no autoscaler is set back, and nothing falls to the 1 of Kubernetes' default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.online import BESIDE, Online, owned
from tests.deploy.render import Object, render
from tests.servers.helm import helm, helms3, helms3_looked_for

pytestmark = pytest.mark.needs("helm")

OFF: dict[str, Any] = {"controller": {"enabled": False}}
DRY: dict[str, Any] = {"controller": {"dryRun": True}}
NONE: dict[str, Any] = {"controller": {"replicas": 0}}
AUTO: dict[str, Any] = {"gateway": {"autoscaling": {"enabled": True}}}
CONSUMER, GATEWAY = "headrace-consumer-payouts", "headrace-gateway"
FIVE: dict[str, Any] = {"consumers": {"payouts": {"min": 5}}}

# The manager of an object's fields, as Kubernetes notes it.
BY_APPLY = {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:selector": {}}}}
BY_APPLY_BUT_REPLICAS = {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}}
BY_MERGE = {"manager": "helm", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:selector": {}}}}
BY_SCALE = {"manager": "any", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
STATUS = {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:replicas": {}}}}


def named(objects: tuple[Object, ...], name: str) -> tuple[int | None, bool]:
    """The replicas that the Deployment's manifest names, and whether it is marked as the cluster's number."""
    (one,) = (one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == name)
    return one["spec"].get("replicas"), "headrace/replicas" in one["metadata"].get("annotations", {})


@pytest.mark.parametrize("values", [OFF, DRY, NONE], ids=["off", "dry", "none"])
def test_without_a_controller_that_scales_each_has_its_min(values: dict[str, Any]) -> None:
    assert named(render(values, FIVE), CONSUMER)[0] == 5
    assert named(render(values, FIVE), "headrace-consumer-registration")[0] == 1
    assert named(render(FIVE), CONSUMER) == (None, False)


async def live(folder: Path, before: Mapping[str, Any], replicas: int, *managers: object) -> Online:
    """A cluster in which these values were applied, and where both Deployments now have that many."""
    made = await Online(folder, [BESIDE]).render(before)
    return Online(folder, [BESIDE, *(_now(one, replicas, managers) for one in made)])


def _now(one: Object, replicas: int, managers: tuple[object, ...]) -> Object:
    scaled = one["metadata"]["name"] in (CONSUMER, GATEWAY) and one["kind"] == "Deployment"
    return owned(one | ({"spec": one["spec"] | {"replicas": replicas}} if scaled else {}), managedFields=[*managers, STATUS])


def _programs() -> list[Path]:
    return [helm(), *(helms3() if helms3_looked_for() else [])]


@pytest.mark.parametrize("manager", [BY_APPLY, BY_MERGE], ids=["server-side", "three-way"])
@pytest.mark.parametrize(
    ("before", "after", "name"), [(OFF, {}, CONSUMER), (DRY, {}, CONSUMER), (NONE, {}, CONSUMER), ({}, AUTO, GATEWAY)]
)
async def test_what_is_turned_on_begins_with_what_is_there(
    before: dict[str, Any], after: dict[str, Any], name: str, manager: object, tmp_path: Path
) -> None:
    """The number was in the last manifest: left out it would be taken away, and Kubernetes would put 1."""
    cluster = await live(tmp_path, before, 7, manager)
    for program in _programs():
        assert named(await cluster.render(after, program=program), name) == (7, True)


@pytest.mark.parametrize(
    ("managers", "named_again"),
    [
        ([BY_APPLY, BY_SCALE], (None, False)),  # shared: Helm gives its part up, and the number stays
        ([BY_APPLY_BUT_REPLICAS, BY_SCALE], (None, False)),
        ([BY_APPLY], (9, True)),  # it was never scaled yet
        ([BY_MERGE], (9, True)),
        ([BY_SCALE], (9, True)),  # three-way merge looks at the last manifest, not at owners
    ],
)
@pytest.mark.parametrize(("before", "after", "name"), [(OFF, {}, CONSUMER), ({}, AUTO, GATEWAY)])
async def test_it_is_named_until_the_autoscaler_owns_it(
    before: dict[str, Any],
    after: dict[str, Any],
    name: str,
    managers: list[object],
    named_again: tuple[int | None, bool],
    tmp_path: Path,
) -> None:
    first = await live(tmp_path, before, 7, BY_APPLY)
    turned_on = [_now(one, 9, tuple(managers)) for one in await first.render(after)]
    assert named(await Online(tmp_path, [BESIDE, *turned_on]).render(after), name) == named_again


@pytest.mark.parametrize("manager", [BY_APPLY_BUT_REPLICAS, BY_MERGE, BY_SCALE])
@pytest.mark.parametrize(("values", "name"), [({}, CONSUMER), (AUTO, GATEWAY)])
async def test_what_was_scaled_from_the_first_is_named_by_nobody(
    values: dict[str, Any], name: str, manager: object, tmp_path: Path
) -> None:
    """With three-way merge the installer seems to own the default's 1: it never named it, and nothing takes it away."""
    assert named(await (await live(tmp_path, values, 9, manager)).render(values), name) == (None, False)


@pytest.mark.parametrize(("values", "now", "then"), [(DRY, 9, 9), (DRY, 2, 5), (NONE, 9, 9), (OFF, 9, 5)])
async def test_a_controller_that_stops_scaling_takes_nothing_away(
    values: dict[str, Any], now: int, then: int, tmp_path: Path
) -> None:
    cluster = await live(tmp_path, FIVE, now, BY_APPLY_BUT_REPLICAS, BY_SCALE)
    assert named(await cluster.render(FIVE, values), CONSUMER)[0] == then
