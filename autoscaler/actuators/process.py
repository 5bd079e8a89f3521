"""One local process that is kept alive: started, replaced when it dies, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from telemetry.supervisor import Beat, Supervised, Supervisor, cancelled

# A process that dies is replaced after 0.2 s, then after growing, jittered pauses of up to 5 s; one that lived for a minute
# begins again with the first.
_FIRST_PAUSE, _LAST_PAUSE, _LONG_LIFE = 0.2, 5.0, 60.0
_PR_SET_PDEATHSIG = 1
_SAID = 2000  # characters of a log's end, in which a program that cannot be used says why
_SIGN_OF_LIFE = 5.0  # seconds in which the keeper says that it still waits for its process


@dataclass(frozen=True)
class Program:
    """arguments: behind `python`. ready: the URL that answers 200 once it is, or None."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    ready: str | None = None


class KeptProcess:
    """Keeps one program running. said: gets a line for people when it dies. born: called with each new process.

    supervisor: the program's, which keeps the keeper. final: exit codes after which it is not started again, because the next start
    would end in the same way. ended: of a program that does one thing: it is never started again, and its exit code is told.
    """

    def __init__(
        self,
        program: Program,
        *,
        said: Callable[[str], None],
        born: Callable[[int], None] = lambda _: None,
        supervisor: Supervisor | None = None,
        final: Collection[int] = (),
        ended: Callable[[int], None] | None = None,
    ) -> None:
        self.program = program
        self._final = final
        self._tell_end = ended
        self._settled = asyncio.Event()  # ready, or never to be
        self._supervisor = supervisor or Supervisor()
        self._is_ready = asyncio.Event()
        self._said = said
        self._born = born
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: Supervised | None = None
        self._pause = _FIRST_PAUSE
        self._stopping = False
        self._log_from = 0
        self.refused: int | None = None  # the exit code after which it is not started again

    @property
    def ready(self) -> bool:
        return self._is_ready.is_set()

    async def start(self) -> None:
        await self._spawn()
        self._keeper = self._supervisor.start(f"process {self.program.name}", self._keep)

    def kill(self) -> None:
        """SIGKILL: it is replaced like any that dies."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self, drain: float) -> None:
        """SIGTERM, and SIGKILL where it has not ended within `drain` and 5 s more."""
        self._stopping = True
        self._is_ready.clear()
        if self._keeper is not None:
            await self._keeper.stop()
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

    async def until_ready(self, patience: float) -> bool:
        """Whether it became ready within `patience` seconds; False at once where it has ended for good."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._settled.wait()
        return self.ready

    def last_words(self) -> str:
        """The end of what it has logged since it was last started."""
        with self.program.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace").strip()[-_SAID:]

    async def _spawn(self) -> None:
        with self.program.log.open("ab") as log:
            self._log_from = log.tell()
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

    async def _keep(self, beat: Beat) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            code = await self._ended(beat)
            self._is_ready.clear()
            if code in self._final:
                self.refused = code
                self._settled.set()
                self._said(f"{self.program.name} ended with {code}, and is not started again: {self.last_words()}")
                await _rest(beat)
            if self._tell_end is not None:
                self._settled.set()
                self._tell_end(code)
                await _rest(beat)
            self._settled.clear()
            self._pause = _FIRST_PAUSE if loop.time() - began > _LONG_LIFE else min(self._pause * 2, _LAST_PAUSE)
            self._said(f"{self.program.name} ended with {code}; starting it again (see {self.program.log})")
            while not await self._spawned_after(random.uniform(self._pause / 4, self._pause / 2)):
                beat()
                self._pause = min(self._pause * 2, _LAST_PAUSE)

    async def _ended(self, beat: Beat) -> int:
        """Its exit code, once it has ended; until then it is asked whether it is ready."""
        assert self._process is not None  # noqa: S101 - spawned before
        waiting = self._supervisor.once(f"end of {self.program.name}", self._process.wait())
        looking = self._supervisor.once(f"readiness of {self.program.name}", self._look())
        try:
            while not waiting.done():
                beat()
                await asyncio.wait({waiting}, timeout=_SIGN_OF_LIFE)
                if looking.done() and not self.ready:
                    looking = self._supervisor.once(f"readiness of {self.program.name}", self._look())
            return int(waiting.result())
        finally:
            await asyncio.gather(cancelled(looking), cancelled(waiting))

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
            self._settled.set()
            return
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1.0)) as client:
            while not self.ready:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with client.get(self.program.ready) as answer:
                        if answer.status == 200 and not self._stopping:
                            self._is_ready.set()
                            self._settled.set()
                await asyncio.sleep(0.05)


async def _rest(beat: Beat) -> None:
    """Until somebody stops the keeper."""
    while True:
        beat()
        await asyncio.sleep(_SIGN_OF_LIFE)


def _die_with_parent() -> None:
    """Linux: the kernel ends the child when its parent is killed, so that none is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
