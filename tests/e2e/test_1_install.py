"""From nothing to the first job, as the notes say."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.e2e.conftest import LateKey
from tests.e2e.release import Release, until
from tests.servers import free_port


def test_all_is_ready(release: Release) -> None:
    for component, pods in {"gateway": 2, "controller": 2, "consumer": 3, "rabbitmq": 1, "redis": 1, "mail": 1}.items():
        found = release.pods(component)
        assert len(found) >= pods, component
    assert until(release.leader, bool, 30, "a controller that leads") in {
        pod["metadata"]["name"] for pod in release.pods("controller")
    }


def test_helm_test_submits_a_job_and_sees_it_succeed(release: Release) -> None:
    assert "succeeded" in release.helm("test", release.name, "--logs")


def test_the_first_job_by_the_command_that_the_notes_print(release: Release) -> None:
    """The notes' commands, unchanged; the local port alone is another one, since 8080 may be taken."""
    port = str(free_port())
    commands = re.findall(r"^ {2}((?:export|curl|kubectl .* port-forward).*(?:\n {4}.*)*)", release.notes, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["kubectl", "export", "curl"]
    forward, key, curl = (command.replace("8080", port) for command in commands)
    script = f"{forward}\ntrap 'kill %1' EXIT\n{key}\nfor _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; {curl} && break; done"
    environment = os.environ | {"KUBECONFIG": release.cluster.kubeconfig}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "202 Accepted" in done.stdout, done.stdout + done.stderr
    location = re.search(r"(?im)^location: (\S+)", done.stdout)
    assert location
    job = until(lambda: release.ask(location[1]), lambda job: job["deliveries"][0]["state"] == "succeeded", 30, "the first job")
    assert job["job_type"] == "order.settled"


def test_mail_is_seen_in_the_mail_pods_log(release: Release) -> None:
    payload = '{"user_id": 1, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}'
    release.client("headrace", "try", "user.registered", payload, f"--url={release.url}")
    assert "ada@example.com" in release.kubectl("logs", f"deployment/{release.prefix}-mail")


def test_without_a_key_nobody_is_let_in(release: Release) -> None:
    probe = "import urllib.request as u, urllib.error as e\ntry: u.urlopen(u.Request('{}/v1/jobs/order.settled', data=b'{{}}'))\n"
    probe += "except e.HTTPError as error: print(error.code, error.headers['content-type'])"
    said = release.client("python", "-c", probe.format(release.url))
    assert said.split() == ["401", "application/problem+json"]


def test_a_key_is_added_while_all_runs(late_key: LateKey) -> None:
    """Whether it is let in is looked at later: the kubelet renews a mounted Secret within a minute or so."""
    assert late_key.key.startswith("hr_")


@pytest.mark.parametrize("component", ["gateway", "consumer", "controller"])
def test_idle_memory(release: Release, component: str, record_property: object) -> None:
    """Resident memory of the process, as it is when nothing runs: reported, and bounded at the limit of the README."""
    for pod in release.pods(component):
        name = pod["metadata"]["name"]
        said = release.kubectl("exec", name, "--", "grep", "VmRSS", "/proc/1/status")
        resident = int(said.split()[1]) / 1024
        print(f"{name}: {resident:.0f} MiB")
        assert resident < 120, name
