"""Harm to the programs themselves; the servers under them are well."""

from __future__ import annotations

import os
import signal

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.program import Program
from tests.chaos.harness.rabbit import Rabbit
from tests.chaos.harness.setups import OUTAGE
from tests.chaos.harness.system import PROGRAMS, System


class Processes(Rabbit):
    """RabbitMQ and Redis, and programs that are killed, stopped and restarted."""

    async def harm(self, fault: str, program: str) -> Harm:
        system = await self.system()
        match fault:
            case "kill":
                return kill_and_start(system, program)
            case "stall 5 s":
                return stand_still(system, program, 5.0)
            case "stall 40 s":
                return stand_still(system, program, 40.0)
            case "rolling restart":
                return roll(system)
        raise KeyError(fault)


def kill_and_start(system: System, program: str) -> Harm:
    """SIGKILL, and a new process after a while, as an orchestrator does it."""
    one = first(system, program)
    children = set(system.scaled().values()) if program == "controller" else set()

    async def begin() -> None:
        await one.kill()

    async def end() -> None:
        await one.start()

    return Harm(begin, end, OUTAGE, kills=(program,), killed={one.pid, *children})


def stand_still(system: System, program: str, seconds: float) -> Harm:
    """SIGSTOP, as a machine that is out of memory or is being moved does it: it wakes up without knowing."""
    one = first(system, program)

    async def begin() -> None:
        os.kill(one.pid, signal.SIGSTOP)

    async def end() -> None:
        os.kill(one.pid, signal.SIGCONT)

    return Harm(begin, end, seconds, stops=(program,))


def roll(system: System) -> Harm:
    """Each program ends on SIGTERM, drains, and begins again, one after the other: nothing that it ran is broken off."""

    async def begin() -> None:
        for program in system.programs.values():
            await program.stop()
            await program.start()
            assert system.client is not None
            await program.until_ready(system.client, 60)

    async def end() -> None:
        return

    return Harm(begin, end, 0.0, kills=PROGRAMS)


def first(system: System, program: str) -> Program:
    """Of the two consumers the first."""
    return system.of(program)[0]
