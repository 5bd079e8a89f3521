"""The checks of every program before it begins: its arguments, its port, its cluster; each mistake is one line and exit code 2."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


async def run(program: str, folder: Path, *arguments: str, **settings: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and error of a program that ends by itself."""
    database = f"sqlite:///{folder}/headrace.db"
    own = {"HEADRACE_BROKER": database, "HEADRACE_OUTCOMES": database, "HEADRACE_DATABASE": f"sqlite:///{folder}/points.db"}
    own |= {"HEADRACE_REGISTRY": str(folder / "consumers"), "HEADRACE_LOG_LEVEL": "warning"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", program, *arguments),
        env=os.environ | own | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("program", ["service", "consumer", "autoscaler"])
async def test_arguments_are_read(program: str, tmp_path: Path) -> None:
    code, out, _ = await run(program, tmp_path, "--help")
    assert (code, f"usage: python -m {program}" in out) == (0, True)
    code, _, err = await run(program, tmp_path, "--prot", "80")
    assert (code, "unrecognized arguments: --prot 80" in err) == (2, True)


@pytest.mark.parametrize(
    ("program", "setting"),
    [("service", "HEADRACE_PORT"), ("consumer", "HEADRACE_PROBE_PORT"), ("autoscaler", "HEADRACE_CONTROLLER_PORT")],
)
async def test_a_port_that_is_taken_is_one_line(program: str, setting: str, taken: int, tmp_path: Path) -> None:
    code, _, err = await run(program, tmp_path, **{setting: str(taken)})
    assert (code, err) == (2, f"{setting}={taken} is taken; give another one, or 0 for any\n")


@pytest.mark.parametrize(
    ("program", "setting"),
    [("service", "HEADRACE_HOST"), ("consumer", "HEADRACE_PROBE_HOST"), ("autoscaler", "HEADRACE_CONTROLLER_HOST")],
)
async def test_an_address_of_another_machine_is_one_line(program: str, setting: str, tmp_path: Path) -> None:
    code, _, err = await run(program, tmp_path, **{setting: "192.0.2.1", "HEADRACE_API_KEYS": "open"})
    assert (code, err.count("\n")) == (2, 1)
    assert f"{setting}=192.0.2.1" in err


async def test_kubernetes_without_a_cluster_is_one_line(tmp_path: Path) -> None:
    nowhere = {"HEADRACE_ACTUATOR": "kubernetes", "HEADRACE_CONTROLLER_PORT": "0", "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""}
    code, _, err = await run("autoscaler", tmp_path, **nowhere)
    assert (code, err.count("\n")) == (2, 1), err
    assert "HEADRACE_ACTUATOR=kubernetes finds no cluster: set KUBECONFIG" in err


async def test_the_gateway_may_open_as_many_files_as_its_connections_need() -> None:
    lines = (
        "import resource",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))",
        "from service.program import _make_room",
        "for connections in (100, 50, 100_000):",
        "    _make_room(connections)",
        "    print(resource.getrlimit(resource.RLIMIT_NOFILE))",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    first, second, *told, last = said.decode().splitlines()
    assert (first, second, last) == ("(356, 4096)", "(356, 4096)", "(4096, 4096)")
    assert "HEADRACE_MAX_CONNECTIONS" in "".join(told)
