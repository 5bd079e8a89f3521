"""The programs of one system, each with a way of its own to each server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from tests.chaos.harness.program import Program
from tests.chaos.harness.proxy import Loop, Proxy

PUBLISH_TIMEOUT = 2.0  # seconds
STORE_TIMEOUT = 1.0
LEASE = 5.0
_READY_WITHIN = 60.0  # seconds for a start, on a busy machine
QUEUES = {"work.both": ("alpha", "beta"), "work.scaled": ("gamma",), "work.row": ("rows",)}
PROGRAMS = ("gateway", "consumer", "controller")


@dataclass(frozen=True)
class Server:
    """Where programs find a server. setting: such as BROKER. ports: what a proxy leads to; none where there can be no proxy."""

    setting: str
    url: str
    ports: tuple[int, ...] = ()


@dataclass
class System:
    """A gateway, two consumers of the same queues, and a controller with a consumer of its own.

    folder: of this system's files. project: made by `project.assemble`. servers: by what cells call them.
    """

    folder: Path
    project: Path
    servers: Mapping[str, Server]
    loop: Loop
    queues: tuple[str, ...] = ("alpha", "beta")
    settings: Mapping[str, str] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    proxies: dict[tuple[str, str], Proxy] = field(default_factory=dict)
    client: aiohttp.ClientSession | None = None

    @property
    def effects(self) -> Path:
        return self.folder / "effects.jsonl"

    @property
    def gateway(self) -> Program:
        return self.programs["gateway"]

    def of(self, program: str) -> list[Program]:
        """The processes that a cell's program stands for."""
        return [one for name, one in self.programs.items() if name.startswith(program)]

    async def start(self) -> None:
        """Start everything, and wait until it is ready. Raises RuntimeError with what a program said last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.client = aiohttp.ClientSession()
        queues = ("--queues", ",".join(self.queues))
        self._add("gateway", "service")
        self._add("consumer-1", "consumer", queues)
        self._add("consumer-2", "consumer", queues)
        self._add("controller", "autoscaler")
        await asyncio.gather(*(program.start() for program in self.programs.values()))
        await self.until_ready()

    async def until_ready(self, seconds: float = _READY_WITHIN) -> None:
        late = await self.unready(seconds)
        if late:
            raise RuntimeError("\n".join(f"{p.name} is not ready; it said last: {p.last_lines()}" for p in late))

    async def unready(self, seconds: float) -> list[Program]:
        """The programs that are not ready, or not alive, within `seconds`."""
        assert self.client is not None
        ready = await asyncio.gather(*(program.until_ready(self.client, seconds) for program in self.programs.values()))
        return [program for program, well in zip(self.programs.values(), ready, strict=True) if not well]

    async def stop(self) -> None:
        """SIGTERM to all; a program that does not end in time is killed, and that is an error."""
        ended = await asyncio.gather(*(program.stop() for program in self.programs.values()), return_exceptions=True)
        if self.client is not None:
            await self.client.close()
        for proxy in self.proxies.values():
            proxy.end()
        self.kill_the_controllers_own()
        late = [name for name, result in zip(self.programs, ended, strict=True) if isinstance(result, BaseException)]
        if late:
            raise RuntimeError(f"did not end within 40 s of SIGTERM: {', '.join(late)}")

    def scaled(self) -> dict[str, int]:
        """The consumers that the controller runs: name and process id."""
        notes = (self.folder / "registry").glob("*.json")
        return {told["name"]: told["pid"] for note in notes if (told := _read(note))}

    def kill_the_controllers_own(self) -> None:
        """Where the controller was killed, and its children with it, none is left; this makes sure."""
        for pid in self.scaled().values():
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and b"consumer" in command.read_bytes():
                os.kill(pid, signal.SIGKILL)

    def proxies_of(self, program: str, server: str) -> list[Proxy]:
        """The ways of one program: of the first consumer alone, so that there is one that sees nothing of it."""
        name = "consumer-1" if program == "consumer" else program
        return [proxy for (whose, where), proxy in self.proxies.items() if (whose, where) == (name, server)]

    def _add(self, name: str, module: str, arguments: tuple[str, ...] = ()) -> None:
        urls = {f"HEADRACE_{server.setting}": self._way(name, where, server) for where, server in self.servers.items()}
        environment = {**_SETTINGS, **self.settings, **urls, "CHAOS_EFFECTS": str(self.effects)}
        if module == "autoscaler":
            environment |= {f"CHAOS_CONSUMER_{server.setting}": server.url for server in self.servers.values()}
            environment["HEADRACE_REGISTRY"] = str(self.folder / "registry")
        self.programs[name] = Program(name, module, self.project, self.folder, environment, arguments)

    def _way(self, program: str, where: str, server: Server) -> str:
        if not server.ports:
            return server.url
        proxy = self.proxies[program, where] = Proxy(self.loop, server.ports)
        parts = urlsplit(server.url)
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{proxy.port}"))


_SETTINGS = {
    "HEADRACE_LOG_FORMAT": "json",
    "HEADRACE_PUBLISH_TIMEOUT": str(PUBLISH_TIMEOUT),
    "HEADRACE_STORE_TIMEOUT": str(STORE_TIMEOUT),
    "HEADRACE_CLAIM_LEASE": str(LEASE),
    "HEADRACE_LEASE": str(LEASE),  # of the release before
    "HEADRACE_CONCURRENCY": "16",
    "HEADRACE_DRAIN_SECONDS": "10",
    "HEADRACE_STALL_SECONDS": "30",
    "HEADRACE_API_KEYS": "open",
    # A queue that is killed within 3 s of its declaration is forgotten; the harness waits before it does harm.
    "HEADRACE_NEW_QUEUE_PAUSE": "0",
    "HEADRACE_WORKLOADS": json.dumps(
        [{"name": "scaled", "queues": ["gamma"], "policy": {"min_replicas": 1, "max_replicas": 2, "service_seconds": 0.1}}]
    ),
}


def _read(note: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}  # it is just being written, or taken away
    return told
