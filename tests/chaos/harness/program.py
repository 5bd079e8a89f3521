"""One program as a process, with its probes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tests.servers import free_port

_PORTS = {"service": "PORT", "consumer": "PROBE_PORT", "autoscaler": "CONTROLLER_PORT"}


class Program:
    """`python -m module` in `folder`. name: of its log file, in `logs`."""

    def __init__(
        self, name: str, module: str, folder: Path, logs: Path, environment: Mapping[str, str], arguments: tuple[str, ...] = ()
    ) -> None:
        self.name, self.module, self.log = name, module, logs / f"{name}.log"
        self._folder, self._arguments = folder, arguments
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        plain = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        self._environment = (
            plain
            | {"PYTHONPATH": str(folder), "HEADRACE_APP": "app"}
            | dict(environment)
            | {f"HEADRACE_{_PORTS[module]}": str(self.port)}
        )
        self._process: asyncio.subprocess.Process | None = None
        self.pids: list[int] = []  # of every process that it was

    def move(self, folder: Path) -> None:
        """Run the programs that are started from now on from this folder."""
        self._folder = folder
        self._environment["PYTHONPATH"] = str(folder)

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, *self._arguments, cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )
        self.pids.append(self._process.pid)

    @property
    def pid(self) -> int:
        return self.pids[-1]

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        await self._end(signal.SIGKILL, 10)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where it does not end within 40 s, which is more than its own drain."""
        try:
            await self._end(signal.SIGTERM, 40)
        except TimeoutError:
            await self.kill()
            raise

    async def _end(self, number: signal.Signals, seconds: float) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await asyncio.wait_for(self._process.wait(), seconds)

    async def ask(self, client: aiohttp.ClientSession, path: str, seconds: float = 10.0) -> tuple[int, Any]:
        """Status and document; status 0 without an answer."""
        try:
            async with client.get(self.url + path, timeout=aiohttp.ClientTimeout(seconds)) as answer:
                return answer.status, await answer.json(content_type=None) if "json" in answer.content_type else await answer.text()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return 0, repr(error)

    async def until_ready(self, client: aiohttp.ClientSession, seconds: float) -> bool:
        """Whether /readyz and /livez answered 200 within `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.alive:
                    if [(await self.ask(client, path))[0] for path in ("/readyz", "/livez")] == [200, 200]:
                        return True
                    await asyncio.sleep(0.2)
        return False

    def last_lines(self, count: int = 5) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
