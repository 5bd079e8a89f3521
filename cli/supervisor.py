"""The programs as local processes: started, watched, replaced when they die, drained at the end."""

from __future__ import annotations

import socket
from collections.abc import Callable

from autoscaler.actuators.process import KeptProcess, Program
from jobs.errors import HeadraceError


class StartFailed(HeadraceError):
    """A program did not become ready; the message has the end of its log."""


class Supervisor:
    """Runs programs; an async context manager whose exit drains them, the last one started first."""

    def __init__(self, programs: list[Program], *, drain: float, said: Callable[[str], None]) -> None:
        """drain: seconds that one program may take to end."""
        self._kept = [KeptProcess(program, said=said) for program in programs]
        self._drain = drain

    async def __aenter__(self) -> Supervisor:
        try:
            for kept in self._kept:
                await kept.start()
            for kept in self._kept:
                await _until_ready(kept)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        for kept in reversed(self._kept):
            await kept.stop(self._drain)


async def _until_ready(kept: KeptProcess) -> None:
    if not await kept.until_ready(20.0):
        raise StartFailed(_why(kept.program))


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


def _why(program: Program) -> str:
    end = program.log.read_text(errors="replace")[-2000:]
    return f"{program.name} was not ready within 20 s; the end of {program.log}:\n{end}"
