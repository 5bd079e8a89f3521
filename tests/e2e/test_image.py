"""The image by itself: what is in it, and that it runs as a pod of the restricted Pod Security Standard runs it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import docker

_TAG = "headrace.local/image-test"
_MOST_BYTES = 150_000_000  # upon the base
# As the kubelet runs it: any uid, no capability, nothing to write on but /tmp. No network besides: nothing is fetched.
_RESTRICTED = ["--read-only", "--user=12345:0", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
_SETTINGS = {
    "BROKER": "sqlite:////tmp/headrace.db",
    "OUTCOMES": "sqlite:////tmp/headrace.db",
    "DATABASE": "sqlite:////tmp/points.db",
    "REGISTRY": "/tmp/consumers",  # noqa: S108 - the container's own
    "DRY_RUN": "true",
    "LOG_FORMAT": "json",
}
_PROGRAMS = {"service": 8080, "consumer": 8081, "autoscaler": 8082}


# The official Python images have no bytecode, as their Dockerfiles say; a distribution's Python has.
_BASE = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN find / -xdev -path '*/python3*' -name '*.pyc' -delete
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("base")
    (folder / "Dockerfile").write_text(_BASE)
    docker.build(f"{_TAG}-base", context=folder)
    docker.build(_TAG, arguments={"BASE_IMAGE": f"{_TAG}-base", "VERSION": "1.2.3", "REVISION": "abc"})
    yield _TAG
    docker.run("image", "rm", _TAG, f"{_TAG}-base")


class Container:
    """A container that runs until it is stopped."""

    def __init__(self, image: str, *command: str) -> None:
        self._id = docker.run("run", "--detach", *_options(), image, *command).strip()

    def get(self, port: int, path: str) -> tuple[int, str]:
        """Status and body; 0 without an answer. Asked from inside: there is no network."""
        script = (
            "import sys, urllib.error, urllib.request as r\n"
            "try: a = r.urlopen(sys.argv[1], timeout=5)\n"
            "except urllib.error.HTTPError as e: a = e\n"
            "except OSError: sys.exit()\n"
            "print(a.status, a.read().decode(), end='')\n"
        )
        status, _, body = docker.run("exec", self._id, "python", "-c", script, f"http://127.0.0.1:{port}{path}").partition(" ")
        return int(status or 0), body

    def until_answer(self, port: int, path: str, seconds: float = 30.0) -> str:
        deadline = time.monotonic() + seconds
        while (seen := self.get(port, path))[0] != 200:
            assert time.monotonic() < deadline, f"{seen}\n{self.logs()}"
            time.sleep(0.2)
        return seen[1]

    def stop(self) -> int:
        """SIGTERM, and after 40 s SIGKILL. The exit code."""
        docker.run("stop", "--time=40", self._id)
        return int(docker.run("inspect", "--format={{.State.ExitCode}}", self._id))

    def logs(self) -> str:
        return docker.run("logs", self._id, both=True)

    def close(self) -> None:
        docker.run("rm", "--force", "--volumes", self._id)


@pytest.fixture(params=sorted(_PROGRAMS))
def program(image: str, request: pytest.FixtureRequest) -> Iterator[tuple[Container, int]]:
    with closing(Container(image, "python", "-m", request.param)) as container:
        yield container, _PROGRAMS[request.param]


def test_each_program_starts_restricted_and_ends_at_sigterm_as_the_first_process(program: tuple[Container, int]) -> None:
    container, port = program
    container.until_answer(port, "/livez")
    assert "headrace_event_loop_lag_seconds_count" in container.until_answer(port, "/metrics")
    assert container.stop() == 0, container.logs()  # 137 where it had to be killed


def test_a_drain_finishes_the_request_that_is_under_way(image: str) -> None:
    container = Container(image, "python", "-c", _SLOW_REQUEST)
    with closing(container):
        deadline = time.monotonic() + 30
        while "half sent" not in container.logs():
            assert time.monotonic() < deadline, container.logs()
            time.sleep(0.1)
        assert container.stop() == 0, container.logs()
        assert "answered 202" in container.logs()


# The gateway as the first process, and a client in a process beside it, which sends half of a job, and the rest after SIGTERM.
_SLOW_REQUEST = """
import os, socket, sys, time
if os.fork():
    os.execvp("python", ["python", "-m", "service"])
body = b'{"order_id": 1, "user_id": 1, "amount": "1.00", "currency": "EUR"}'
while True:
    client = socket.socket()
    if not client.connect_ex(("127.0.0.1", 8080)):
        break
    time.sleep(0.1)
client.sendall(b"POST /v1/jobs/order.settled HTTP/1.1\\r\\nHost: a\\r\\nContent-Type: application/json\\r\\n")
client.sendall(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body[:20])
print("half sent", flush=True)
time.sleep(2)
client.sendall(body[20:])
print("answered", client.recv(4096).split()[1].decode(), flush=True)
"""


def test_the_command_line_works(image: str) -> None:
    assert "dead" in _run(image, "headrace", "--help")
    assert "nothing to mend" in _run(image, "headrace", "check")


def test_nothing_is_inside_that_does_not_run(image: str) -> None:
    folders = "adapters app autoscaler cli consumer core service simulator telemetry .venv"
    assert set(_run(image, "ls", "-A", "/app").split()) == set(folders.split())
    commands = set(_run(image, "ls", "/app/.venv/bin").split())
    assert {name for name in commands if not name.startswith("python")} == {"headrace"}
    found = _run(image, "sh", "-c", "find /app -name .venv -prune -o -type f -print")
    assert {path.rsplit(".", 1)[-1] for path in found.split()} == {"py", "pyc", "typed"}
    assert "No module named pip" in _run(image, "sh", "-c", "python -m pip 2>&1 || true")
    # sys.base_prefix is the interpreter of the base image, whose own pip goes as well.
    base = '"$(python -c "import sys; print(sys.base_prefix)")"/bin/python3'
    for module in ("pip", "ensurepip"):
        assert f"No module named {module}" in _run(image, "sh", "-c", f"{base} -m {module} 2>&1 || true")
    assert not _run(image, "sh", "-c", "find /app ! -readable -o ! -perm -o=r ! -type l").split(), "anybody may read all of it"
    assert not _run(image, "sh", "-c", "find /app -writable ! -type l").split()


def test_an_image_made_from_it_may_have_other_handlers(image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nCOPY points.py app/handlers/points.py\n")
    (tmp_path / "points.py").write_text("print('another one')\n")
    docker.build(f"{_TAG}-team", context=tmp_path)
    try:
        assert _run(f"{_TAG}-team", "python", "-c", "import app.handlers.points") == "another one\n"
    finally:
        docker.run("image", "rm", f"{_TAG}-team")


@pytest.mark.parametrize("program", sorted(_PROGRAMS))
def test_a_start_compiles_nothing(image: str, program: str) -> None:
    """Without the standard library's bytecode a consumer's start takes twice the CPU time."""
    loaded = _run(image, "sh", "-c", f"python -v -c 'import {program}.app' 2>&1 | grep 'code object from'").splitlines()
    assert len(loaded) > 300
    assert [line for line in loaded if ".pyc" not in line] == []


def test_it_adds_little_to_its_base(image: str) -> None:
    assert _size(image) - _size(docker.base()) < _MOST_BYTES


def test_it_says_what_it_is_and_by_whom_it_is_run(image: str) -> None:
    config = json.loads(docker.run("image", "inspect", "--format={{json .Config}}", image))
    assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc"
    assert config["User"].split(":")[0].isdigit(), "runAsNonRoot is checked by number"
    assert config["User"].split(":")[0] != "0"


def _options() -> list[str]:
    settings = [f"--env=HEADRACE_{name}={value}" for name, value in _SETTINGS.items()]
    return [*_RESTRICTED, "--tmpfs=/tmp:rw,mode=1777", *settings]


def _run(image: str, *command: str) -> str:
    return docker.run("run", "--rm", *_options(), image, *command)


def _size(image: str) -> int:
    return int(docker.run("image", "inspect", "--format={{.Size}}", image))
