"""The whole system on this machine: gateway, controller, and what is yours beside them; the controller starts the consumers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from autoscaler.actuators.process import Program
from cli.folder import made
from cli.supervisor import free_port
from core import project
from core.errors import SettingsError
from core.settings import EMBEDDED


class Consumer(NamedTuple):
    """A consumer process that runs now. url: of its probes and metrics."""

    name: str
    pid: int
    url: str

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True)
class System:
    """Where everything is. settings: of all programs, before those of the environment. shown: files to look into, by name."""

    url: str
    shown: Mapping[str, Path]
    registry: Path
    programs: list[Program]
    settings: dict[str, str]

    def consumers(self) -> Iterator[Consumer]:
        """Those that run now."""
        for note in sorted(self.registry.glob("*.json")):
            try:
                yield Consumer(**orjson.loads(note.read_bytes()))
            except (OSError, orjson.JSONDecodeError):
                continue  # it is being written, or just went


def local_system(
    data: Path,
    *,
    broker: str | None,
    outcomes: str | None,
    consumers: tuple[int, int],
    port: int,
    jobs: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> System:
    """Plan the processes. data: their folder. broker, outcomes: URLs; None is an SQLite file in `data`.

    consumers: the fewest and the most processes. jobs: queues of which each delivery has a process of its own. more: settings that
    take precedence over the environment's.
    """
    data = made(data)
    embedded = EMBEDDED.partition("///")[0] + f"///{data}/headrace.db"
    gateway, controller = free_port(port), free_port()
    beside = project.beside(data, free_port)
    shared = {
        "HEADRACE_BROKER": broker or embedded,
        "HEADRACE_OUTCOMES": outcomes or embedded,
        # The environment's files are for other servers, and a URL may be given once.
        "HEADRACE_BROKER_FILE": "",
        "HEADRACE_OUTCOMES_FILE": "",
        "HEADRACE_PORT": str(gateway),
        "HEADRACE_LOG_FORMAT": "json",
        "HEADRACE_REGISTRY": str(data / "consumers"),
        "HEADRACE_CONTROLLER_PORT": str(controller),
        "HEADRACE_WORKLOADS": workloads(consumers, jobs),
    }
    shared |= {**beside.settings, **(more or {})}
    programs = [
        *(Program(name, tuple(arguments), shared, data / f"{name}.log") for name, arguments in beside.programs.items()),
        Program("gateway", ("-m", "service"), shared, data / "gateway.log", f"http://127.0.0.1:{gateway}/readyz"),
        Program("controller", ("-m", "autoscaler"), shared, data / "controller.log", f"http://127.0.0.1:{controller}/readyz"),
    ]
    return System(f"http://127.0.0.1:{gateway}", beside.shown, data / "consumers", programs, shared)


def workloads(consumers: tuple[int, int], jobs: Sequence[str] = ()) -> str:
    """HEADRACE_WORKLOADS for one machine: a process starts within 2 s and costs little, so it comes soon and goes soon.

    jobs: queues of which each delivery has a process of its own. Raises SettingsError for one that no contract has.
    """
    least, most = consumers
    queues = _queues()
    for queue in jobs:
        if queue not in queues:
            raise SettingsError(f"--job {queue}: the contracts have no such queue; they have: {', '.join(queues)}")
    shared = [queue for queue in queues if queue not in jobs]
    policy = {"min_replicas": least, "max_replicas": most, "startup_seconds": 2.0, "down_window": 3.0, "down_cooldown": 1.0}
    found: list[dict[str, Any]] = [{"name": "consumer", "queues": shared, "policy": policy}] if shared else []
    found += [{"name": f"job/{queue}", "queues": [queue], "policy": {"max_replicas": most}} for queue in dict.fromkeys(jobs)]
    return orjson.dumps(found).decode()


def _queues() -> tuple[str, ...]:
    return project.catalogue().topology().queues
