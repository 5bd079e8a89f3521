"""With rabbitmq.mode operator the controller has arrivals from the management API, and no user makes a Secret for that."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from tests.deploy.checks.scaling import controllers
from tests.deploy.release import Release
from tests.deploy.traffic import Peer, allowed

pytestmark = pytest.mark.needs("helm")

OPERATOR: dict[str, Any] = {"rabbitmq": {"mode": "operator"}, "gateway": {"apiKeys": {"existingSecret": "keys"}}}


def test_it_is_asked_as_the_brokers_user_on_its_host() -> None:
    release = Release.of(OPERATOR)
    ((_, settings),) = controllers(release)
    broker, management = urlsplit(settings.broker.get_secret_value()), urlsplit(settings.management())
    assert (management.scheme, management.port) == ("http", 15672)
    assert (management.username, management.password, management.hostname) == (broker.username, broker.password, broker.hostname)
    assert broker.password
    (user,) = release.kinds("User")
    assert user["spec"]["tags"] == ["management"]


def test_its_port_is_open_to_the_controller_alone() -> None:
    release = Release.of(OPERATOR)
    broker = Peer({"app.kubernetes.io/name": "headrace-rabbitmq"}, namespace=release.namespace)
    reach = {one.component for one in release.workloads if allowed(release, Peer.of(one, release), broker, 15672)}
    assert reach == {"controller"}


def test_a_secret_of_ones_own_goes_before_it() -> None:
    own = Release.of(OPERATOR, {"controller": {"managementUrl": {"existingSecret": "management"}}})
    ((_, settings),) = controllers(own)
    assert settings.management() == "http://user:word@broker.example:15672"
    assert own.named("NetworkPolicy", "headrace-management") is None


@pytest.mark.parametrize("mode", ["dev", "external"])
def test_elsewhere_it_is_not_guessed(mode: str) -> None:
    """The dev broker has no management plugin, and the address of an external one's is not given."""
    release = Release.of(OPERATOR, {"rabbitmq": {"mode": mode, "external": {"existingSecret": "broker"}}})
    ((_, settings),) = controllers(release)
    assert settings.management_url == SecretStr("")
