"""The images of the tests on a cluster: ours, and the brokers' stand-ins where no registry is reached."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.servers import docker, missing
from tests.servers.kubernetes import Cluster

_TEAM = Path(__file__).parents[1] / "e2e/team"
REPOSITORY = "headrace.local/e2e"


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> dict[str, Any]:
    """Values that name the images: ours with the test's handlers as tags `a` and `b`, and the brokers that the cluster has."""
    if not shutil.which("helm"):
        missing("kubernetes", "helm is not on PATH")
    docker.build(f"{REPOSITORY}:base")
    for tag in ("a", "b"):
        docker.build(f"{REPOSITORY}:{tag}", context=_TEAM, arguments={"BASE_IMAGE": f"{REPOSITORY}:base"})
    values: dict[str, Any] = {"image": {"repository": REPOSITORY, "tag": "a", "pullPolicy": "IfNotPresent"}}
    names = [f"{REPOSITORY}:{tag}" for tag in ("a", "b")]
    if cluster.local or (cluster.kind is not None and docker.has("headrace.local/rabbitmq")):  # others pull these
        names.append(docker.base())
        for name in ("rabbitmq", "redis"):
            names.append(f"headrace.local/{name}:latest")
            values[name] = {"dev": {"image": f"headrace.local/{name}:latest", "imagePullPolicy": "Never"}}
    cluster.load(*names)
    return values
