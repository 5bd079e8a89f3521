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

from autoscaler.actuators.reasons import cut
from telemetry.early import PARENT_DIED
from telemetry.supervisor import Beat, Supervised, Supervisor, cancelled

# A process that dies is replaced after 0.2 s, then after growing, jittered pauses of up to 5 s; one that lived for a minute
# begins again with the first.
_FIRST_PAUSE, _LAST_PAUSE, _LONG_LIFE = 0.2, 5.0, 60.0
_PR_SET_PDEATHSIG = 1
_SAID = 2000  # characters of a log's end, in which a program that cannot be used says why
# One that is ready is asked again every 2 s, and has ceased to be so after three refusals in a row, each of 2 s at most.
_LOOK_SOON, _LOOK_AGAIN, _LOOK_PATIENCE, _REFUSALS = 0.05, 2.0, 2.0, 3
# After its drain a program closes its connections and resources, each of which may take 15 s; SIGKILL is for what hangs.
TO_CLOSE = 30.0
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
    would end in the same way. ended: of a program that does one thing: it is never started again, and its exit code is passed on.
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
        self._refusal = "does not answer"
        self.died = ""  # how the last process of it ended, with the last line of its log; "" before one has

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
        """SIGTERM, and SIGKILL where it has not ended within `drain` seconds, and as many more as closing takes."""
        self._stopping = True
        self._is_ready.clear()
        if self._keeper is not None:
            await self._keeper.stop()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), drain + TO_CLOSE)
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

    @property
    def unready(self) -> str:
        """Why it is not ready, or ""."""
        return "" if self.ready else self.died or f"NotReady: it runs, and /readyz {self._refusal}"

    def last_words(self) -> str:
        """The end of what it has logged since it was last started."""
        with self.program.log.open("rb") as log:
            log.seek(max(self._log_from, log.seek(0, os.SEEK_END) - 4 * _SAID))  # UTF-8 has up to four bytes for a character
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
                start_new_session=True,  # Ctrl-C is for its keeper, which drains in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._born(self._process.pid)

    async def _keep(self, beat: Beat) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            code = await self._ended(beat)
            self._is_ready.clear()
            self.died = self._how_it_ended(code)
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
                if looking.done() and self.program.ready is not None:
                    looking = self._supervisor.once(f"readiness of {self.program.name}", self._look())
            return int(waiting.result())
        finally:
            await asyncio.gather(cancelled(looking), cancelled(waiting))

    def _how_it_ended(self, code: int) -> str:
        try:
            lines = self.last_words().splitlines()
        except OSError:  # its log is gone, and that is no reason to leave it dead
            lines = []
        return f"ended with {code}: {lines[-1] if lines else 'nothing in its log'}"

    async def _spawned_after(self, pause: float) -> bool:
        await asyncio.sleep(pause)
        try:
            await self._spawn()
        except OSError as error:  # no memory, no process table entry, no disk: that may pass
            self._said(f"{self.program.name} cannot be started: {error}; trying again")
            return False
        return True

    async def _look(self) -> None:
        """Ask whether it is ready, for ever: one that stands still, or can take nothing for now, is not."""
        if self.program.ready is None:
            self._is_ready.set()
            self._settled.set()
            return
        pause, refusals = _LOOK_SOON, 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_LOOK_PATIENCE)) as client:
            while True:
                refusal = await _refused(client, self.program.ready)
                if not refusal and not self._stopping:
                    pause, refusals = _LOOK_AGAIN, 0
                    self._is_ready.set()
                    self.died = ""
                    self._settled.set()
                elif refusal:
                    self._refusal, refusals = refusal, refusals + 1
                    if refusals >= _REFUSALS:
                        self._is_ready.clear()
                await asyncio.sleep(pause)


async def _refused(client: aiohttp.ClientSession, url: str) -> str:
    """The state that it reports instead of ready, or ""."""
    try:
        async with client.get(url) as answer:
            return "" if answer.status == 200 else f"answers {answer.status}: {cut(await answer.text())}"
    except (aiohttp.ClientError, TimeoutError, ValueError):  # ValueError: what it answers is no text
        return "does not answer"


async def _rest(beat: Beat) -> None:
    """Until somebody stops the keeper."""
    while True:
        beat()
        await asyncio.sleep(_SIGN_OF_LIFE)


def _die_with_parent() -> None:
    """Linux: the kernel tells the child when its parent is killed, so that none is left behind: programs of ours drain."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, PARENT_DIED)
