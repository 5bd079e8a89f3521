"""A text that YAML reads as a number, as true, as nothing or as a day stays a text, wherever a user may have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.checks import ALL
from tests.deploy.checks.shape import nothing_is_null
from tests.deploy.release import Release, known_as, leaves
from tests.deploy.render import NEWEST, Strict, combinations, notes, refused
from tests.deploy.schemas import complaints

pytestmark = pytest.mark.needs("helm")

WORDS = ["123", "1e3", "0x10", "2026-01-01", "12:30", "true", "null", "~", "on", "y"]
# Of a release and its namespace, and of what begins with a letter: the chart, its objects, an entry of `consumers`.
NAMES = [("123", "true"), ("1e3", "null"), ("0x10", "on"), ("2026-01-01", "y"), ("null", "no")]
CHECKS = [check for check in ALL if check.__name__ != "every_queue_is_consumed_once"]  # the entries' queues are in no contract
OPEN: dict[str, Any] = {"gateway": {"apiKeys": {"open": True}}}


def _mistaken(release: Release) -> list[str]:
    """Values that are no text where the schemas of Kubernetes and of the CRDs have one. They take null for every text."""
    wrong = [f"{known_as(one)}: {what}" for one in release.objects for what in complaints(one, NEWEST)]
    return wrong + list(nothing_is_null(release))


def test_words_are_read_as_helm_reads_them() -> None:
    """Else this file would find nothing."""
    assert not [word for word in WORDS if isinstance(yaml.load(word, Loader=Strict), str)]  # noqa: S506


@pytest.mark.parametrize(("name", "letters"), NAMES)
@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_it_may_be_a_name(path: Path, name: str, letters: str) -> None:
    """Of release and namespace, of the chart and its objects, and of an entry."""
    entries = {letters: {"queues": ["another"]}, "n": {"queues": ["hours"], "mode": "job"}}
    values = {"nameOverride": letters, "fullnameOverride": letters, "consumers": entries, "controller": {"enabled": True}}
    release = Release.of(path, values, name=name, namespace=name)
    assert _mistaken(release) == []
    assert [f"{check.__name__}: {complaint}" for check in CHECKS for complaint in check(release)] == []
    labels = [one.labels for one in release.workloads]
    assert {one["app.kubernetes.io/instance"] for one in labels} == {name}
    assert {one["app.kubernetes.io/name"] for one in labels} == {letters}
    assert {letters, "n"} <= {one.get("headrace/consumer") for one in labels}


@pytest.mark.parametrize("word", ["1e3", "123"])
def test_a_name_that_begins_with_a_figure_is_refused(word: str) -> None:
    assert "nameOverride" in refused({"nameOverride": word})
    assert "fullnameOverride" in refused({"fullnameOverride": word})
    assert word in refused({"consumers": {word: {"queues": ["another"]}}})
    assert "fullnameOverride" in refused({}, name=word)


def _own(word: str) -> dict[str, dict[str, Any]]:
    """Values by what they are about."""
    own = {"existingSecret": word, "key": word}
    return {
        "Secrets": {
            "rabbitmq": {"mode": "external", "external": own},
            "redis": {"mode": "external", "external": own},
            "database": own,
            "gateway": {"apiKeys": {"existingSecret": word}},
            "controller": {"managementUrl": own},
            "caBundle": own,
            "imagePullSecrets": [{"name": word}],
            "test": {"existingSecret": word},
        },
        "Secrets of brokers of a first try": {
            "rabbitmq": {"dev": {"existingSecret": word, "storageClassName": word, "storage": word}},
            "redis": {"dev": {"existingSecret": word, "storageClassName": word, "storage": word}},
            "caBundle": {"existingConfigMap": word, "key": word},
        },
        "accounts": {"serviceAccount": {"name": word}, "gateway": {"serviceAccount": {"create": True, "name": f"{word}-g"}}},
        "the controller's account": {"controller": {"serviceAccount": {"create": False, "name": word}}},
        "classes": {
            "priorityClassName": word,
            "runtimeClassName": word,
            "gateway": {
                "ingress": {"enabled": True, "hosts": [word], "className": word},
                "httpRoute": {"enabled": True, "parentRefs": [{"name": word}]},
                "service": {"type": "LoadBalancer", "loadBalancerClass": word, "loadBalancerIP": word},
            },
        },
        "operator": OPEN
        | {
            "rabbitmq": {
                "mode": "operator",
                "operator": {"vhost": word, "image": word, "storageClassName": word, "tls": {"existingSecret": word}},
            },
        },
        "the operator's Secret": OPEN | {"rabbitmq": {"mode": "operator", "operator": {"existingSecret": word}}},
        "mappings": {"podAnnotations": {"c": word}, "commonAnnotations": {"d": word}, "nodeSelector": {"e": word}},
        "images": {
            "image": {"repository": word, "tag": word},
            "rabbitmq": {"dev": {"image": word}},
            "redis": {"dev": {"image": word}},
        },
        "variables": {
            "env": [{"name": "A", "value": word}],
            "settings": {"RETENTION": word},
            "mail": {"mode": "external", "host": word, "from": word},
            "monitoring": {"selector": word},
        },
        "the test": {"test": {"jobType": word, "payload": {"a": word}}},
    }


@pytest.mark.parametrize("about", _own(""))
@pytest.mark.parametrize("word", WORDS)
def test_it_may_be_a_value(word: str, about: str) -> None:
    release = Release.of(_own(word)[about])
    assert _mistaken(release) == []
    found = {value for one in release.objects for _, value in leaves(one) if isinstance(value, str)}
    assert [value for value in found if word in value], "it stands nowhere"


@pytest.mark.parametrize("word", [word for word in WORDS if word not in ("~", "12:30")])
def test_it_may_be_a_labels_value(word: str) -> None:
    labels = {"commonLabels": {"a": word}, "podLabels": {"b": word}, "monitoring": {"labels": {"c": word}}}
    assert _mistaken(Release.of(labels, {"gateway": {"service": {"labels": {"d": word}}}})) == []


@pytest.mark.parametrize("place", [{}, {"gateway": {}}, {"consumers": {"payouts": {}}}], ids=["all", "gateway", "an entry"])
def test_a_variable_that_is_no_text_is_refused_by_name(place: dict[str, Any]) -> None:
    """Kubernetes would refuse it, and 0x10 is 16 by the time that the chart sees it."""
    env = {"env": [{"name": "A", "value": 123}]}
    said = refused(env if not place else {key: dict.fromkeys(of, env) or env for key, of in place.items()})
    assert "value" in said
    assert "string" in said


def test_an_apostrophe_in_the_payload_does_not_end_the_line_of_the_notes() -> None:
    assert r"""--json '{"a":"it'\''s",""" in notes({"test": {"payload": {"a": "it's"}}})
