"""The schemas themselves refuse what they must: no check is worth more than what it would find."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.render import NEWEST, VERSIONS, Object, render
from tests.deploy.schemas import complaints

REFERENCE = {"rabbitmqClusterReference": {"name": "rabbitmq"}}
# One good object of each optional kind.
GOOD: dict[tuple[str, str], Any] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): {"selector": {}, "podMetricsEndpoints": [{"port": "probes", "interval": "15s"}]},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"selector": {}, "endpoints": [{"port": "http", "path": "/metrics"}]},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups": [{"name": "a", "rules": [{"alert": "A", "expr": "1", "for": "1m"}]}]
    },
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "parentRefs": [{"name": "a"}],
        "rules": [{"backendRefs": [{"name": "b", "port": 80}]}],
    },
    ("rabbitmq.com/v1beta1", "RabbitmqCluster"): {
        "replicas": 3,
        "persistence": {"storage": "1Gi"},
        "rabbitmq": {"additionalConfig": "a = b"},
    },
    ("rabbitmq.com/v1beta1", "Vhost"): {"name": "jobs", "defaultQueueType": "quorum", **REFERENCE},
    ("rabbitmq.com/v1beta1", "User"): {"tags": ["monitoring"], "importCredentialsSecret": {"name": "a"}, **REFERENCE},
    ("rabbitmq.com/v1beta1", "Permission"): {"user": "a", "vhost": "jobs", "permissions": {"read": ".*"}, **REFERENCE},
    ("rabbitmq.com/v1beta1", "Queue"): {"name": "email", "type": "quorum", "arguments": {"x-delivery-limit": 20}, **REFERENCE},
    ("rabbitmq.com/v1beta1", "Exchange"): {"name": "jobs", "type": "topic", **REFERENCE},
    ("rabbitmq.com/v1beta1", "Binding"): {"source": "jobs", "destination": "email", "destinationType": "queue", **REFERENCE},
    ("rabbitmq.com/v1beta1", "Policy"): {"name": "a", "pattern": ".*", "definition": {"max-length": 1}, **REFERENCE},
}


@pytest.mark.parametrize(("kind", "spec"), GOOD.items(), ids=lambda one: one[1] if isinstance(one, tuple) else "")
def test_a_typo_in_an_optional_object_is_refused(kind: tuple[str, str], spec: Any) -> None:
    one = {
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": {"name": "a", "namespace": "jobs", "labels": {"a": "b"}},
        "spec": spec,
    }
    assert list(complaints(one, NEWEST)) == []
    for path in _objects(one):
        if path[-1] not in {"labels", "arguments", "definition"}:  # whose keys are the user's
            assert list(complaints(_with(one, (*path, "typo"), 1), NEWEST)), f"{path} takes a typo"
    assert list(complaints(one | {"metadata": {"name": "a", "labels": {"a": 1}}}, NEWEST)), "a label may be a number"
    assert list(complaints({**one, "spec": "wrong"}, NEWEST))


def _objects(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    deeper = [found for key, part in parts for found in _objects(part, (*path, key))]
    return [path, *deeper] if isinstance(value, dict) and path else deeper


def _with(one: Object, path: tuple[Any, ...], value: Any) -> Object:
    changed: Any = copy.deepcopy(one)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return dict(changed)


def test_what_nobody_knows_is_no_pass() -> None:
    assert list(complaints({"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "a"}}, NEWEST))
    assert list(complaints({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}}, NEWEST))


@pytest.mark.needs("helm")
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_it_is_what_kubernetes_validate_says(version: str) -> None:
    """Its own entry reads 2 MB for every object; ours reads the same files once a version."""
    for one in {one["kind"]: one for one in render() if one["kind"] in {"Deployment", "Service", "NetworkPolicy", "Role"}}.values():
        kubernetes_validate.validate(one, version, strict=True)
        broken = one | {"typo": 1}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, version, strict=True)
        assert list(complaints(broken, version))
