"""Faults from the start: the install fails, and a log or an event gives the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.e2e.release import HelmError, Json, Release, until
from tests.servers import docker
from tests.servers.kubernetes import Cluster

SMALL: Json = {
    "consumers": {"registration": None},
    "gateway": {"replicas": 1, "apiKeys": {"open": True}},
    "controller": {"enabled": False},
    "mail": {"mode": "none"},
}
SHORT = "25s"
WRONG = "RabbitMQ refuses the user or the password"


@pytest.fixture(scope="module")
def refused(cluster: Cluster, images: Json) -> Iterator[dict[str, tuple[Release, str]]]:
    """All at once, since each is waited for until helm gives up: the fault, and helm's output."""
    wrong: dict[str, Json] = {
        "secret": {"rabbitmq": {"mode": "external", "external": {"existingSecret": "nowhere"}}},
        "password": {"rabbitmq": {"dev": {"existingSecret": "mistyped"}}},
        "image": {"image": dict(zip(("repository", "tag"), docker.base().rsplit(":", 1), strict=True))},
    }
    releases = {name: Release(cluster, images) for name in wrong}
    url = f"amqp://headrace:wrong@{releases['password'].prefix}-rabbitmq:5672/"
    literals = (f"--from-literal=url={url}", "--from-literal=rabbitmq.conf=default_user = headrace\ndefault_pass = right\n")
    releases["password"].kubectl("create", "secret", "generic", "mistyped", *literals)

    def install(name: str) -> str:
        with pytest.raises(HelmError) as raised:
            releases[name].install(SMALL, wrong[name], timeout=SHORT, base={})
        return str(raised.value)

    with ThreadPoolExecutor(len(wrong)) as together:
        said = dict(zip(wrong, together.map(install, wrong), strict=True))
    yield {name: (releases[name], said[name]) for name in wrong}
    for one in releases.values():
        one.end()


Refused = dict[str, tuple[Release, str]]


def test_a_missing_secret_is_named_by_the_pod(refused: Refused) -> None:
    release, said = refused["secret"]
    assert said
    assert any('secret "nowhere" not found' in event["message"] for event in release.events())


def test_a_wrong_password_is_what_readiness_says_and_nothing_crashes(refused: Refused) -> None:
    release, said = refused["password"]
    assert said
    for component, port in (("gateway", 8080), ("consumer", 8081)):
        (pod,) = release.pods(component)
        probe = f"import urllib.request as u, urllib.error as e\ntry: u.urlopen('http://127.0.0.1:{port}/readyz')\n"
        probe += "except e.HTTPError as error: print(error.code, error.read().decode())"
        ask = partial(release.kubectl, "exec", pod["metadata"]["name"], "--", "python", "-c", probe)
        told = until(ask, lambda told: WRONG in told, 120, WRONG)  # before, its broker may still be starting
        assert told.startswith("503")
        assert "wrong" not in told
        assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]


def test_an_image_without_the_programs_says_so(refused: Refused) -> None:
    release, said = refused["image"]
    assert said
    (pod,) = release.pods("gateway")
    logs: Callable[..., str] = release.kubectl
    assert "No module named service" in logs("logs", pod["metadata"]["name"], check=False)


def test_objects_of_an_api_that_is_not_there_are_refused_only_where_they_are_asked_for(release: Release) -> None:
    """The shared release has `auto`, and was installed."""
    if "monitoring.coreos.com/v1" in release.kubectl("api-versions"):
        pytest.skip("this cluster has the Prometheus Operator's API")
    with pytest.raises(HelmError, match="PrometheusRule"):
        release.upgrade({"monitoring": {"rules": True}})
