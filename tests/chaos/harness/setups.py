"""The servers on which systems run, and harm on the way to them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.project import assemble
from tests.chaos.harness.proxy import Loop, Proxy
from tests.chaos.harness.system import Server, System

OUTAGE = 4.0  # seconds for which a server that was killed stays away
# The faults that are possible between one program and one server, and their seconds. A partition lasts for longer than the 10 s
# after which programs give up a connection that says nothing.
ON_THE_WAY: dict[str, tuple[Callable[[Proxy], None], float]] = {
    "stall 5 s": (Proxy.stall, 5.0),
    "stall 40 s": (Proxy.stall, 40.0),
    "refuse": (Proxy.refuse, 6.0),
    "slow": (lambda proxy: proxy.slow(0.1), 10.0),
    "partition": (Proxy.partition, 20.0),
}


class Setup:
    """Servers of one kind, and the system that runs on them now."""

    role = "broker"  # what the server under test is to the programs
    types: tuple[str, ...] = ("work.both", "work.both", "work.both", "work.scaled")
    queues: tuple[str, ...] = ("alpha", "beta")

    def __init__(self, folder: Path, loop: Loop) -> None:
        self.folder, self.loop = folder, loop
        self.running: System | None = None

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await self.forget()

    async def servers(self) -> dict[str, Server]:
        """Empty ones, for a new system."""
        raise NotImplementedError

    async def left(self) -> dict[str, int]:
        """How many messages there are in each queue of the system that has some."""
        raise NotImplementedError

    async def harm(self, fault: str, program: str) -> Harm:
        """Do the fault of a cell. program: the one whose way to the server it is about, where it is about one."""
        act, seconds = ON_THE_WAY[fault]
        return through(await self.system(), program, self.role, act, seconds)

    async def system(self) -> System:
        """The one that runs, or a new one."""
        if self.running is None:
            name = uuid.uuid4().hex[:8]
            project = assemble(self.folder / f"project-{name}")
            self.running = System(self.folder / name, project, await self.servers(), self.loop, self.queues)
            await self.running.start()
        return self.running

    async def forget(self) -> None:
        """Stop the system: the next one is new."""
        system, self.running = self.running, None
        if system is not None:
            await system.stop()


def through(system: System, program: str, role: str, act: Callable[[Proxy], None], seconds: float) -> Harm:
    """Harm on the way between one program and one server."""
    ways = system.proxies_of(program, role)
    assert ways, f"{program} has no way of its own to {role}"

    async def begin() -> None:
        for way in ways:
            act(way)

    async def end() -> None:
        for way in ways:
            way.heal()

    return Harm(begin, end, seconds)


async def blocking(call: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(call, *arguments)
