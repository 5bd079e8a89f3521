"""The oldest and the newest Helm 3 render what Helm 4 renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.render import NEWEST, OLDEST, Object, combinations, refused, render
from tests.servers.helm import helms3

pytestmark = pytest.mark.needs("helm", "helm3")


def shown(objects: tuple[Object, ...]) -> dict[tuple[str, str], Any]:
    """By kind and name. Of Secrets the keys: their values are made at random where there is no cluster to find it in."""
    return {(one["kind"], one["metadata"]["name"]): _keys(one) if one["kind"] == "Secret" else one for one in objects}


def _keys(one: Object) -> Any:
    return {**one, "stringData": sorted(one.get("stringData") or {}), "data": sorted(one.get("data") or {})}


@pytest.mark.parametrize("version", [f"1.{OLDEST}", NEWEST])
@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_the_same_is_rendered(path: Path, version: str) -> None:
    for program in helms3():
        assert shown(render(path, kube_version=version, program=program)) == shown(render(path, kube_version=version))


@pytest.mark.parametrize("wrong", [{"typo": 1}, {"gateway": {"typo": 1}}, {"consumers": {"registration": {"typo": 1}}}])
def test_the_same_is_refused(wrong: dict[str, Any]) -> None:
    for program in helms3():
        assert "typo" in refused(wrong, program=program)
    assert "typo" in refused(wrong)


def test_a_refusal_reads_the_same() -> None:
    wrong = {"rabbitmq": {"mode": "external"}}
    for program in helms3():
        assert "rabbitmq.external.existingSecret" in refused(wrong, program=program)
