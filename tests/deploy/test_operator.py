"""A RabbitmqCluster: its pods are made by the operator, and have the options of pods that no container has; and its TLS."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.deploy.release import Release, known_as
from tests.deploy.render import CHART, NEWEST, Object, refused
from tests.deploy.schemas import complaints
from tests.deploy.test_pods import GIVEN

pytestmark = pytest.mark.needs("helm")

OPERATOR: dict[str, Any] = {"rabbitmq": {"mode": "operator"}, "gateway": {"apiKeys": {"existingSecret": "keys"}}}
OF_CONTAINERS = {"env", "envFrom", "volumes", "volumeMounts", "sidecars", "initContainers"}
PLACED = sorted(GIVEN.keys() - OF_CONTAINERS - {"serviceAccount"})  # the operator makes the account, with a Role of its own


def test_the_schema_offers_just_these() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    operator = schema["properties"]["rabbitmq"]["properties"]["operator"]["properties"]
    assert sorted(operator.keys() & GIVEN.keys()) == PLACED


@pytest.mark.parametrize("option", PLACED)
def test_an_option_arrives_by_field_or_override(option: str) -> None:
    for given in ({option: GIVEN[option]}, {"rabbitmq": {"operator": {option: GIVEN[option]}}}):
        release = Release.of(OPERATOR, given)
        spec = _cluster(release)["spec"]
        template = spec.get("override", {}).get("statefulSet", {}).get("spec", {}).get("template", {})
        pod = {**template.get("metadata", {}), **template.get("spec", {}), **spec}
        assert pod[option.removeprefix("pod").lower() if option in ("podLabels", "podAnnotations") else option] == GIVEN[option]
        assert [f"{known_as(one)}: {what}" for one in release.objects for what in complaints(one, NEWEST)] == []


def test_its_own_go_before_those_of_all_and_none_is_no_override() -> None:
    assert "override" not in _cluster(Release.of(OPERATOR))["spec"]
    own: dict[str, Any] = {"rabbitmq": {"operator": {"nodeSelector": {}, "tolerations": []}}}
    release = Release.of(OPERATOR, own, {"nodeSelector": {"pool": "general"}, "tolerations": [{"operator": "Exists"}]})
    assert _cluster(release)["spec"].keys() & {"override", "tolerations"} == set()


def test_labels_by_which_the_operator_selects_are_refused() -> None:
    given = {"rabbitmq": {"mode": "operator", "operator": {"podLabels": {"app.kubernetes.io/name": "x"}}}}
    assert "rabbitmq.operator.podLabels.app.kubernetes.io/name" in refused(OPERATOR, given)


@pytest.mark.parametrize("closed", [False, True])
def test_with_tls_all_come_by_it(closed: bool) -> None:
    tls = {"existingSecret": "certificate", "disableNonTLSListeners": closed}
    release = Release.of(OPERATOR, {"rabbitmq": {"operator": {"tls": tls}}})
    assert _cluster(release)["spec"]["tls"] == {"secretName": "certificate", "disableNonTLSListeners": closed}
    user = release.named("Secret", "headrace-rabbitmq-user")
    assert user is not None
    url = urlsplit(user["stringData"]["url"])
    assert (url.scheme, url.hostname, url.port, url.path) == ("amqps", "headrace-rabbitmq", 5671, "/headrace")
    assert _told(release)["HEADRACE_MANAGEMENT_URL"] == "https://headrace-rabbitmq:15671"
    assert _ports(release, "headrace-programs") == ({5671} if closed else {5671, 5672})
    assert _ports(release, "headrace-management") == {15671}


def test_without_tls_none_does() -> None:
    release = Release.of(OPERATOR)
    assert "tls" not in _cluster(release)["spec"]
    assert (_ports(release, "headrace-programs"), _ports(release, "headrace-management")) == ({5672}, {15672})
    assert "listen nowhere" in refused(OPERATOR, {"rabbitmq": {"operator": {"tls": {"disableNonTLSListeners": True}}}})


def test_the_management_api_of_the_release_is_reached_without_the_proxy() -> None:
    proxy = {"proxy": {"http": "http://proxy.example:3128", "noProxy": ["localhost"]}}
    assert _told(Release.of(OPERATOR, proxy))["NO_PROXY"] == "localhost,headrace-gateway,headrace-rabbitmq"


def test_its_image_comes_with_the_registrys_secrets() -> None:
    secrets = [{"name": "registry"}]
    assert _cluster(Release.of(OPERATOR, {"imagePullSecrets": secrets}))["spec"]["imagePullSecrets"] == secrets


def _cluster(release: Release) -> Object:
    (one,) = release.kinds("RabbitmqCluster")
    return one


def _told(release: Release) -> dict[str, str]:
    (controller,) = (pod for pod in release.workloads if pod.component == "controller")
    return {one["name"]: one["value"] for one in controller.main[0]["env"]}


def _ports(release: Release, policy: str) -> set[int]:
    """To the pods of the RabbitmqCluster."""
    one = release.named("NetworkPolicy", policy)
    assert one is not None
    rules = [rule for rule in one["spec"]["egress"] if "headrace-rabbitmq" in json.dumps(rule.get("to"))]
    return {port["port"] for rule in rules for port in rule["ports"]}
