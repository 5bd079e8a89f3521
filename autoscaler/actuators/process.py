"""One local process that is kept alive: started, replaced when it dies, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

# A process that dies is replaced after 0.2 s, then after growing, jittered pauses of up to 5 s; one that lived for a minute
# begins again with the first.
_FIRST_PAUSE, _LAST_PAUSE, _LONG_LIFE = 0.2, 5.0, 60.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """arguments: behind `python`. ready: the URL that answers 200 once it is, or None."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    ready: str | None = None


class KeptProcess:
    """Keeps one program running. said: gets a line for people when it dies. born: called with each new process."""

    def __init__(self, program: Program, *, said: Callable[[str], None], born: Callable[[int], None] = lambda _: None) -> None:
        self.program = program
        self._is_ready = asyncio.Event()
        self._said = said
        self._born = born
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def ready(self) -> bool:
        return self._is_ready.is_set()

    async def start(self) -> None:
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    def kill(self) -> None:
        """SIGKILL: it is replaced like any that dies."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self, drain: float) -> None:
        """SIGTERM, and SIGKILL where it has not ended within `drain` and 5 s more."""
        self._stopping = True
        self._is_ready.clear()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), drain + 5.0)
            except TimeoutError:
                self._said(f"{self.program.name} did not drain in time; ending it")
                process.kill()
                await process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def until_ready(self, patience: float) -> bool:
        """Whether it became ready within `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._is_ready.wait()
        return self.ready

    async def _spawn(self) -> None:
        with self.program.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.program.arguments,
                env=os.environ | self.program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever keeps it, who drains in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._born(self._process.pid)

    async def _keep(self) -> None:
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        while True:
            began = loop.time()
            code = await self._ended()
            self._is_ready.clear()
            if self._stopping:
                return
            pause = _FIRST_PAUSE if loop.time() - began > _LONG_LIFE else min(pause * 2, _LAST_PAUSE)
            self._said(f"{self.program.name} ended with {code}; starting it again (see {self.program.log})")
            while not await self._spawned_after(random.uniform(pause / 4, pause / 2)):
                pause = min(pause * 2, _LAST_PAUSE)

    async def _ended(self) -> int:
        """Its exit code, once it has ended; until then it is asked whether it is ready."""
        assert self._process is not None  # noqa: S101 - spawned before
        looking = asyncio.create_task(self._look())
        try:
            return await self._process.wait()
        finally:
            looking.cancel()

    async def _spawned_after(self, pause: float) -> bool:
        await asyncio.sleep(pause)
        try:
            await self._spawn()
        except OSError as error:  # no memory, no process table entry, no disk: that may pass
            self._said(f"{self.program.name} cannot be started: {error}; trying again")
            return False
        return True

    async def _look(self) -> None:
        """Ask whether it is ready, until it is."""
        if self.program.ready is None:
            self._is_ready.set()
            return
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1.0)) as client:
            while not self.ready:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with client.get(self.program.ready) as answer:
                        if answer.status == 200 and not self._stopping:
                            self._is_ready.set()
                await asyncio.sleep(0.05)


def _die_with_parent() -> None:
    """Linux: the kernel ends the child when its parent is killed, so that none is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
