"""Passwords that the chart makes stay what they are, and are never made where those that exist could not be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import secrets
from tests.deploy.online import BESIDE, DEFAULT, Online, owned
from tests.deploy.release import Release
from tests.deploy.render import combinations, manifest, refused
from tests.servers.helm import helm, helms3, helms3_looked_for

pytestmark = pytest.mark.needs("helm")

KEYS: dict[str, Any] = {"gateway": {"apiKeys": {"existingSecret": "keys"}}}
OPERATOR: dict[str, Any] = {"rabbitmq": {"mode": "operator"}}
STORE: dict[str, Any] = {"redis": {"mode": "dev", "dev": {"existingSecret": "store"}}}
# Everything that a GitOps tool must be given, by the mode of the broker.
GIVEN: dict[str, dict[str, Any]] = {
    "external": {"mode": "external", "external": {"existingSecret": "broker"}},
    "operator": {"mode": "operator", "operator": {"existingSecret": "broker"}},
    "dev": {"mode": "dev", "dev": {"existingSecret": "broker"}},
}


def _programs() -> list[Path]:
    return [helm(), *(helms3() if helms3_looked_for() else [])]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, {"gateway.apiKeys.existingSecret", "rabbitmq.dev.existingSecret", "redis.dev.existingSecret"}),
        (KEYS, {"rabbitmq.dev.existingSecret", "redis.dev.existingSecret"}),
        (KEYS | OPERATOR | STORE, {"rabbitmq.operator.existingSecret"}),
        (KEYS | OPERATOR, {"rabbitmq.operator.existingSecret", "redis.dev.existingSecret"}),
    ],
)
def test_a_render_without_a_cluster_makes_no_password(values: dict[str, Any], named: set[str]) -> None:
    for program in _programs():
        said = refused(values, passwords=False, program=program)
        assert {word.rstrip(".,") for word in said.split() if word.rstrip(".,").endswith(".existingSecret")} == named
        assert "docs/gitops.md" in said
        assert "offlinePasswords" in said


@pytest.mark.parametrize("mode", GIVEN)
def test_with_secrets_of_ones_own_two_renders_are_the_same_byte_for_byte(mode: str) -> None:
    """As Argo CD renders: no cluster, and a first render each time."""
    given = KEYS | STORE | {"rabbitmq": GIVEN[mode]}
    for program in _programs():
        first, again = (manifest(given, {"global": {"again": n}}, passwords=False, program=program) for n in (1, 2))
        assert first == again
        assert "kind: Secret" not in first
    release = Release.of(given, passwords=False)
    assert not secrets(release)


@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_every_combination_is_either_refused_or_the_same_again(path: Path) -> None:
    if not refused(path, passwords=False):
        assert manifest(path, {"global": {"again": 1}}, passwords=False) == manifest(path, passwords=False)
    else:
        assert manifest(path, {"global": {"again": 1}}) != manifest(path), "it was refused, and makes no password"


def test_the_operator_is_given_the_users_own_secret() -> None:
    release = Release.of(KEYS | STORE | {"rabbitmq": GIVEN["operator"]}, passwords=False)
    (user,) = release.kinds("User")
    assert user["spec"]["importCredentialsSecret"] == {"name": "broker"}
    assert release.named("Secret", "headrace-rabbitmq-user") is None


async def test_a_first_install_makes_them(tmp_path: Path) -> None:
    """Into a namespace that there is, without any right beyond it; and into one that Helm is to make."""
    for program in _programs():
        for cluster in (Online(tmp_path, [BESIDE], forbidden=["namespaces/default"]), Online(tmp_path, [DEFAULT])):
            made = await cluster.render(program=program)
            assert {one["metadata"]["name"] for one in made if one["kind"] == "Secret"} == {
                "headrace-api-key",
                "headrace-api-keys",
                "headrace-rabbitmq-user",
                "headrace-redis",
            }


async def test_an_upgrade_keeps_them_and_asks_for_nothing_else(tmp_path: Path) -> None:
    first = await Online(tmp_path, [BESIDE]).render()
    kept = [owned(one) for one in first if one["kind"] == "Secret"]
    cluster = Online(tmp_path, kept, forbidden=["serviceaccounts/default", "namespaces/default"])
    for program in _programs():
        again = await cluster.render(program=program)
        assert [one for one in again if one["kind"] == "Secret"] == [one for one in first if one["kind"] == "Secret"]


async def test_what_may_not_be_asked_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Forbidden: /api/v1/namespaces/default"):
        await Online(tmp_path, forbidden=["namespaces/default"]).render()
