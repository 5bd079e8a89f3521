"""Every long-lived task of the gateway and of the controller that needs no server: a fault at each of its awaits, and it works on.

The loops are found in the supervisor itself, so that a new one is covered without a word here.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from autoscaler.actuators.kubernetes.actuator import Kubernetes
from autoscaler.actuators.kubernetes.api import Json, Resource
from autoscaler.actuators.kubernetes.lease import Lease
from core.catalogue import Catalogue
from core.settings import Settings
from core.topology import Topology
from service.app import build
from service.key_files import KeyFiles
from service.settings import GatewaySettings
from telemetry.probes import Probes
from telemetry.supervisor import Supervised, Supervisor
from tests.stepping import FAULTS, Stepping
from tests.unit.controlled import Controlled, LoopClock, Plant, Seer
from tests.unit.test_lease import LeaseServer

World = Callable[[Supervisor], AbstractAsyncContextManager[None]]


class QuietBroker(SqliteBroker):
    """Is there, without a file or a thread."""

    def __init__(self) -> None:
        super().__init__(":memory:", Topology({"a.b": ("one",)}), Settings(), LoopClock())

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def unready(self) -> None:
        return None


class QuietStore(SqliteOutcomes):
    """The same for outcomes."""

    def __init__(self) -> None:
        super().__init__(":memory:", Settings(), LoopClock())

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        await asyncio.sleep(0.01)


class Cluster:
    """A stand-in for the actuator's Api: one Deployment and no pod. Watches report nothing, and end in their time."""

    namespace = "here"

    async def call(
        self, verb: str, of: Resource, name: str = "", body: Json | None = None, query: Any = None, *, timeout: float
    ) -> Json:
        await asyncio.sleep(0.01)
        deployment = {
            "metadata": {"name": "work", "uid": "1", "resourceVersion": "1"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "work"}}},
        }
        return {"metadata": {"resourceVersion": "1"}, "items": [deployment] if of.plural == "deployments" else []}

    async def watch(self, of: Resource, query: Mapping[str, str], seconds: int) -> AsyncIterator[Json]:
        await asyncio.sleep(seconds)
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2"}}}


@asynccontextmanager
async def gateway(owner: Supervisor) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as keys:
        parts = (QuietBroker(), QuietStore(), None, LoopClock(), KeyFiles(Path(keys)))
        app = build(GatewaySettings(), Catalogue([]), *parts, owner)
        async with app.api.router.lifespan_context(FastAPI()):
            yield


@asynccontextmanager
async def controller(owner: Supervisor) -> AsyncIterator[None]:
    world = Controlled(Plant(work=1), [Seer(ready_jobs=5)], supervisor=owner)
    async with world.run():
        yield


@asynccontextmanager
async def cluster(owner: Supervisor) -> AsyncIterator[None]:
    kubernetes = Kubernetes(Cluster(), ["work"], clock=LoopClock(), supervisor=owner)  # type: ignore[arg-type]  # what is used of it
    lease = Lease(LeaseServer().door(), "lease", clock=LoopClock(), supervisor=owner)  # type: ignore[arg-type]  # what is used of it
    await kubernetes.open()
    await lease.open()
    yield
    await lease.close()
    await kubernetes.close()


WORLDS: dict[str, World] = {"gateway": gateway, "controller": controller, "cluster": cluster}


async def places_of(world: World) -> dict[str, list[int]]:
    """By loop, the numbers of the awaits that stand at different places; looked at for a minute and a half."""
    stepping = Stepping()
    owner = Supervisor(around=stepping)
    async with world(owner):
        await asyncio.sleep(90.0)
        names = {one.name for one in owner.loops}
    assert owner.loops == {}, "what was started is ended"
    assert set(stepping.places) == names
    return {name: list(places.values()) for name, places in stepping.places.items()}


async def works_on(world: World, name: str, at: int, fault: str) -> None:
    """Put one fault in, and see the loop work on."""
    stepping = Stepping(name, at, FAULTS[fault])
    owner = Supervisor(around=stepping)
    async with world(owner):
        one = await _started(owner, name)
        async with asyncio.timeout(100.0):
            while not stepping.met:
                await asyncio.sleep(0.25)
        beats, patience = one._beats, one._patience or 0.0
        async with asyncio.timeout(2 * patience + 20.0):
            while one._beats < beats + 2 or one.wrong is not None:
                await asyncio.sleep(0.25)
        assert one.running
        assert stepping.runs <= 2, "one fault, one more run at most"


async def _started(owner: Supervisor, name: str) -> Supervised:
    async with asyncio.timeout(30.0):
        while not (found := [one for one in owner.loops if one.name == name]):
            await asyncio.sleep(0.1)
    return found[0]


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", WORLDS)
async def test_a_fault_at_any_await_of_any_loop_ends_no_service(where: str, fault: str) -> None:
    world = WORLDS[where]
    for name, numbers in (await places_of(world)).items():
        for at in numbers:
            await works_on(world, name, at, fault)


async def test_the_probes_server_serves_again() -> None:
    """It needs real sockets, and so real time: it is ended from outside."""
    owner = Supervisor()
    probes = Probes("127.0.0.1", 0, lambda: owner.wrong, list, {}, owner)
    port = probes._socket.getsockname()[1]
    probes.open()
    (one,) = owner.loops
    async with aiohttp.ClientSession() as client, asyncio.timeout(30):
        for _ in range(3):
            while True:
                try:
                    async with client.get(f"http://127.0.0.1:{port}/livez") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)
            failures = one.failures
            for task in asyncio.all_tasks():
                if task.get_name() == "probes":
                    task.cancel()
            while one.failures == failures:
                await asyncio.sleep(0.01)
    await probes.close()
    await owner.close()


def test_nothing_long_lived_is_started_elsewhere() -> None:
    """`create_task` and `ensure_future` stand where a task is awaited by the code that started it, and nowhere else."""
    allowed = {
        "telemetry/supervisor.py": 3,
        "telemetry/signals.py": 1,  # ends with its block
        "autoscaler/actuators/kubernetes/actuator.py": 1,  # a TaskGroup's
    }
    found: dict[str, int] = {}
    for folder in ("service", "telemetry", "autoscaler"):
        for file in Path(folder).rglob("*.py"):
            count = len(re.findall(r"\b(?:create_task|ensure_future)\(", file.read_text()))
            if count:
                found[str(file)] = count
    assert found == allowed
