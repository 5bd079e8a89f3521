"""Every combination of values that matters, on every Kubernetes version that matters: what must hold of what is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.checks import ALL
from tests.deploy.release import Release, known_as
from tests.deploy.render import VERSIONS, combinations, notes, render
from tests.deploy.schemas import complaints

pytestmark = pytest.mark.needs("helm")

FILES = [pytest.param(path, id=path.name.removesuffix("-values.yaml")) for path in combinations()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES)
def test_every_object_is_valid(path: Path, version: str) -> None:
    objects = render(path, kube_version=version)
    assert objects
    assert [f"{known_as(one)}: {what}" for one in objects for what in complaints(one, version)] == []


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__name__)
def test_it_holds(check: Callable[[Release], Iterator[str]], path: Path, version: str) -> None:
    assert list(check(Release.of(path, kube_version=version))) == []


@pytest.mark.parametrize("path", FILES)
def test_the_same_is_rendered_again(path: Path) -> None:
    """But for passwords that are made where there is no cluster to find them in: a tool that compares renders sees no change."""
    here, again = render(path), render(path, {"global": {"again": True}})
    assert [one for one in here if one["kind"] != "Secret"] == [one for one in again if one["kind"] != "Secret"]


@pytest.mark.parametrize("path", FILES)
def test_a_bare_cluster_gets_nothing_that_it_does_not_know(path: Path) -> None:
    """Without the optional APIs: only what the values ask for by name."""
    asked = {one["apiVersion"] for one in render(path, api_versions=())}
    offered = {one["apiVersion"] for one in render(path)}
    assert asked <= offered


@pytest.mark.parametrize("path", FILES)
def test_the_notes_are_whole(path: Path) -> None:
    text = notes(path)
    assert text.strip()
    assert "<no value>" not in text
    assert "<nil>" not in text
