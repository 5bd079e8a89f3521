"""A program one of whose tasks cannot be kept running ends as after SIGTERM, but says that it failed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from structlog.testing import capture_logs

from autoscaler.app import ControllerApp
from autoscaler.settings import ControllerSettings
from core import project
from service.app import create
from service.program import _Server
from service.settings import GatewaySettings
from telemetry.supervisor import MOST_FAILURES, Supervisor
from tests.servers import free_port


class NoPause:
    """Draws no pause between two tries."""

    def uniform(self, low: float, high: float) -> float:
        return 0.0

    def bits(self, count: int) -> int:
        return 0

    def token(self) -> str:
        return ""

    def uuid7(self) -> str:
        return ""


def broken(name: str) -> Any:
    """For `around`: the loop called `name` fails in every run."""

    async def fail(run: Coroutine[Any, Any, None]) -> None:
        run.close()
        raise ValueError("always")

    return lambda loop, run: fail(run) if loop == name else run


async def test_the_gateway_ends_with_what_it_could_not_keep_running() -> None:
    owner = Supervisor(chance=NoPause(), around=broken("event loop"))
    gateway = create(GatewaySettings(broker="memory:", outcomes="memory:", port=0), project.catalogue(), owner)
    server = _Server(uvicorn.Config(gateway, port=0, interface="asgi3", lifespan="on", log_config=None), gateway, 0.0)
    owner.give_up = server.give_up
    with capture_logs() as logs:
        await asyncio.wait_for(server.serve(), 30)
    assert server.failed
    (said,) = [line for line in logs if line["log_level"] == "critical"]
    assert said["why"] == f"event loop: ValueError: always, {MOST_FAILURES} times in a row"
    assert owner.loops == {}


async def test_the_controller_ends_with_what_it_could_not_keep_running(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/headrace.db"
    settings = ControllerSettings(
        broker=url, outcomes=url, actuator="processes", dry_run=True, registry=str(tmp_path), controller_port=free_port()
    )
    owner = Supervisor(chance=NoPause(), around=broken("event loop"))
    app = ControllerApp(settings, project.catalogue(), owner)
    assert await asyncio.wait_for(app.run(), 30) is False
    assert owner.loops == {}


@pytest.mark.parametrize("program", ["service", "autoscaler"])
async def test_a_stop_that_was_asked_for_is_no_failure(tmp_path: Path, program: str) -> None:
    url = f"sqlite:///{tmp_path}/headrace.db"
    port = str(free_port())
    environment = os.environ | {
        "HEADRACE_BROKER": url,
        "HEADRACE_OUTCOMES": url,
        "HEADRACE_PORT": port,
        "HEADRACE_CONTROLLER_PORT": port,
        "HEADRACE_ACTUATOR": "processes",
        "HEADRACE_DRY_RUN": "true",
        "HEADRACE_REGISTRY": str(tmp_path / "registry"),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", program, env=environment, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    ready = b"open: no API key" if program == "service" else b"controlling"
    async with asyncio.timeout(30):
        while ready not in await process.stderr.readline():
            pass
    process.terminate()
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
