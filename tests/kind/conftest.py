"""A kind cluster with two workers, and one release that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import pytest_runtest_makereport
from tests.e2e.release import Json, Release
from tests.servers import missing
from tests.servers.kind import Kind
from tests.servers.kubernetes import Cluster

__all__ = ["pytest_runtest_makereport"]

# Where broker, store and client are while a worker is drained or lost: a volume of kind's own storage class does not follow its pod
# to another node.
_APART = "node-role.kubernetes.io/control-plane"
APART: Json = {"nodeSelector": {_APART: ""}, "tolerations": [{"key": _APART, "operator": "Exists", "effect": "NoSchedule"}]}
VALUES: Json = {
    "gateway": {"replicas": 3},
    "consumers": {"quick": {"min": 3}, "registration": {"enabled": False}, "payouts": {"enabled": False}},
    "rabbitmq": {"dev": {**APART, "keep": False}},
    "redis": {"dev": APART},
    "mail": APART,
}


@pytest.fixture(scope="session")
def workers(cluster: Cluster) -> list[str]:
    """The names of the nodes for pods, two or more."""
    found = [one["metadata"]["name"] for one in cluster.nodes() if not one["spec"].get("taints")]
    if len(found) < 2:
        missing("kind", f"it has {len(found)} nodes for pods, and two are needed: make kind-test")
    return found


@pytest.fixture(scope="session")
def kind(cluster: Cluster, workers: list[str]) -> Kind:
    assert cluster.kind is not None
    return cluster.kind


@pytest.fixture(scope="session")
def release(cluster: Cluster, images: Json, workers: list[str]) -> Iterator[Release]:
    """Installed once, with a client beside it."""
    made = Release(cluster, images)
    made.install(VALUES)
    made.start_client(APART)
    yield made
    made.end()
