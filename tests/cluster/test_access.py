"""Credentials and rights: the Role of docs/rbac.md is enough, and what is missing from one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.actuators.kubernetes import ApiFailure, Lease, connect
from core.errors import ActuatorError
from tests.cluster.steps import aside, opened, seen, until
from tests.servers.kubernetes import Namespace

_DOCUMENT = Path(__file__).parents[2] / "docs" / "rbac.md"


def _role() -> dict[str, Any]:
    block = _DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    role: dict[str, Any] = yaml.safe_load(block)
    return role


def _without(role: dict[str, Any], resource: str, verb: str) -> dict[str, Any]:
    """The Role without one verb on one resource."""
    rules = []
    for rule in role["rules"]:
        if resource not in rule["resources"]:
            rules.append(rule)
            continue
        rules.append(rule | {"resources": [one for one in rule["resources"] if one != resource]})
        rules.append(rule | {"resources": [resource], "verbs": [one for one in rule["verbs"] if one != verb]})
    return role | {"rules": [rule for rule in rules if rule["resources"]]}


def _account(namespace: Namespace, name: str, role: dict[str, Any]) -> str:
    """A token of a ServiceAccount with this Role."""
    namespace.kubectl("create", "serviceaccount", name)
    namespace.apply(role | {"metadata": {"name": name}})
    namespace.kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={namespace.name}:{name}")
    return namespace.kubectl("create", "token", name).strip()


def _kubeconfig(namespace: Namespace, folder: Path, user: dict[str, str]) -> str:
    whole = json.loads(namespace.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    whole["users"][0]["user"] = user
    path = folder / f"kubeconfig-{namespace.name}"
    path.write_text(json.dumps(whole))
    return str(path)


async def test_the_documented_role_is_enough(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("email", 2)
    namespace.workload("store", 0, kind="StatefulSet")
    namespace.template("exports")
    kubeconfig = _kubeconfig(namespace, tmp_path, {"token": _account(namespace, "whole", _role())})
    async with opened(namespace, "email", "statefulset/store", "job/exports", kubeconfig=kubeconfig) as actuator:
        names = await until(lambda: [one.name for one in seen(actuator, "email").replicas if one.ready])
        assert not actuator._rivals._forbidden
        await actuator.scale("email", 1, names, "fewer")
        await actuator.scale("statefulset/store", 1, [], "more")
        await actuator.scale("job/exports", 1, [], "more")
        await until(lambda: len(seen(actuator, "job/exports").replicas) == 1)
        lease = Lease(actuator._api, "controller")
        await lease.open()
        await until(lambda: lease.leading)
        await lease.close()
        await until(lambda: len(namespace.get("events")["items"]) and "Scaled" in namespace.kubectl("get", "events"))


@pytest.mark.parametrize(
    ("resource", "verb", "named"),
    [
        ("deployments/scale", "patch", 'apiGroups: [apps], resources: ["deployments/scale"], verbs: ["patch"]'),
        ("pods", "patch", 'apiGroups: [""], resources: ["pods"], verbs: ["patch"]'),
    ],
)
async def test_a_verb_that_is_missing_for_scaling_is_named(
    namespace: Namespace, tmp_path: Path, resource: str, verb: str, named: str
) -> None:
    namespace.workload("email", 2)
    token = _account(namespace, "less", _without(_role(), resource, verb))
    async with opened(namespace, "email", kubeconfig=_kubeconfig(namespace, tmp_path, {"token": token})) as actuator:
        # Of one pod alone none is marked: both must be seen.
        await until(lambda: len(seen(actuator, "email").replicas) == 2)
        names = [one.name for one in seen(actuator, "email").replicas]
        with pytest.raises(ActuatorError) as caught:
            await actuator.scale("email", 1, names, "fewer")
        assert named in str(caught.value)
        assert seen(actuator, "email").asked == 2


@pytest.mark.parametrize(("resource", "verb"), [("deployments", "watch"), ("pods", "list")])
async def test_a_verb_that_is_missing_for_seeing_is_named(namespace: Namespace, tmp_path: Path, resource: str, verb: str) -> None:
    namespace.workload("email", 0)
    token = _account(namespace, "blind", _without(_role(), resource, verb))
    async with opened(namespace, "email", kubeconfig=_kubeconfig(namespace, tmp_path, {"token": token})) as actuator:
        await until(lambda: f'verbs: ["{verb}"]' in (actuator._followed["email"].down or ""))
        assert resource in (actuator._followed["email"].down or "")


async def test_a_right_that_is_missing_for_jobs_is_named(namespace: Namespace, tmp_path: Path) -> None:
    namespace.template("exports")
    token = _account(namespace, "nojobs", _without(_role(), "jobs", "create"))
    async with opened(namespace, "job/exports", kubeconfig=_kubeconfig(namespace, tmp_path, {"token": token})) as actuator:
        await until(lambda: actuator.seen("job/exports"))
        with pytest.raises(ActuatorError) as caught:
            await actuator.scale("job/exports", 1, [], "more")
        assert 'apiGroups: [batch], resources: ["jobs"], verbs: ["create"]' in str(caught.value)
        assert seen(actuator, "job/exports").asked == 0


async def test_rights_that_serve_only_convenience_are_not_needed(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("email", 1)
    role = _role()
    for resource, verb in (("events", "create"), ("horizontalpodautoscalers", "list"), ("scaledobjects", "list")):
        role = _without(role, resource, verb)
    role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
    kubeconfig = _kubeconfig(namespace, tmp_path, {"token": _account(namespace, "plain", role)})
    async with opened(namespace, "email", kubeconfig=kubeconfig) as actuator:
        await actuator.scale("email", 2, [], "more")
        await until(lambda: seen(actuator, "email").asked == 2)
        assert len(actuator._rivals._forbidden) == 2


async def test_a_lease_without_its_verbs_never_leads_and_says_which(namespace: Namespace, tmp_path: Path) -> None:
    token = _account(namespace, "nolease", _without(_role(), "leases", "create"))
    api = await connect(_kubeconfig(namespace, tmp_path, {"token": token}), namespace.name)
    lease = Lease(api, "controller")
    await lease.open()
    await until(lambda: 'resources: ["leases"], verbs: ["create"]' in lease._why)
    assert not lease.leading
    await lease.close()
    await api.close()


async def test_a_token_file_is_read_again_when_its_token_is_no_longer_taken(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("email", 0)
    token = tmp_path / "token"
    token.write_text("out-of-date")
    kubeconfig = _kubeconfig(namespace, tmp_path, {"tokenFile": str(token)})
    async with opened(namespace, "email", kubeconfig=kubeconfig) as actuator:
        await until(lambda: "does not know who asks" in (actuator._followed["email"].down or ""))
        with pytest.raises(ActuatorError) as caught:
            await actuator.scale("email", 1, [], "more")
        assert isinstance(caught.value, ApiFailure)
        token.write_text(await aside(_account, namespace, "renewed", _role()))
        await until(lambda: actuator.seen("email"))
        await actuator.scale("email", 1, [], "more")
