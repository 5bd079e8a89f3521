"""The programs as local processes: started, watched, replaced when they die, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from jobs.errors import HeadraceError

# A process that dies is replaced after 0.2 s, then after growing, jittered pauses of up to 5 s.
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0
_PR_SET_PDEATHSIG = 1


class StartFailed(HeadraceError):
    """A program did not become ready; the message has the end of its log."""


@dataclass
class Program:
    """One process. ready: the URL that answers 200 once it is."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    ready: str | None = None
    restarts: int = 0
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)


class Supervisor:
    """Runs programs; an async context manager whose exit drains them, the last one started first."""

    def __init__(self, programs: list[Program], *, drain: float, said: Callable[[str], None]) -> None:
        self._programs = programs
        self._drain = drain
        self._say = said
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def __aenter__(self) -> Supervisor:
        try:
            for program in self._programs:
                await self._spawn(program)
                self._keepers.append(asyncio.create_task(self._keep(program)))
            for program in self._programs:
                await _until_ready(program, 20.0)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    def kill(self, name: str) -> None:
        """SIGKILL a program; it is replaced like any that dies."""
        for program in self._programs:
            if program.name == name and program.process is not None:
                program.process.kill()

    async def _spawn(self, program: Program) -> None:
        with program.log.open("ab") as log:
            program.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *program.arguments,
                env=os.environ | program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we drain them in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    async def _keep(self, program: Program) -> None:
        pause = _FIRST_PAUSE
        while True:
            assert program.process is not None  # noqa: S101 - spawned before
            code = await program.process.wait()
            if self._stopping:
                return
            program.restarts += 1
            self._say(f"{program.name} ended with {code}; starting it again (see {program.log})")
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, _LAST_PAUSE)
            await self._spawn(program)

    async def _stop(self) -> None:
        self._stopping = True
        for program in reversed(self._programs):
            await self._end(program)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _end(self, program: Program) -> None:
        process = program.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self._drain + 5.0)
        except TimeoutError:
            self._say(f"{program.name} did not drain in time; ending it")
            process.kill()
            await process.wait()


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, else any free port of 127.0.0.1."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartFailed("no free port on 127.0.0.1")


async def _until_ready(program: Program, patience: float) -> None:
    if program.ready is None:
        return
    try:
        async with asyncio.timeout(patience), aiohttp.ClientSession() as client:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with client.get(program.ready) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.02)
    except TimeoutError:
        end = program.log.read_text(errors="replace")[-2000:]
        raise StartFailed(f"{program.name} was not ready within {patience:g} s; the end of {program.log}:\n{end}") from None


def _die_with_parent() -> None:
    """Linux: the kernel ends the child when we are killed, so that none is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
