"""The programs as local processes: started, watched, replaced when they die, drained at the end."""

from __future__ import annotations

import socket
from collections.abc import Callable

from autoscaler.actuators.process import KeptProcess, Program
from core.errors import HeadraceError
from telemetry import supervisor

# Of a program that cannot use a setting, a contract or its port: the next start would end in the same way.
_REFUSALS = (2,)


class StartFailed(HeadraceError):
    """A program did not become ready; the message has the end of its log."""


class Supervisor:
    """Runs programs; an async context manager whose exit drains them, the last one started first."""

    def __init__(self, programs: list[Program], *, drain: float, said: Callable[[str], None]) -> None:
        """drain: seconds that one program may take to end."""
        self._owner = supervisor.Supervisor()
        self._kept = [KeptProcess(program, said=said, supervisor=self._owner, final=_REFUSALS) for program in programs]
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
        await self._owner.close()


async def _until_ready(kept: KeptProcess) -> None:
    if not await kept.until_ready(20.0):
        if kept.refused is not None:  # and its log says why
            raise StartFailed(f"{kept.program.name} cannot start (see {kept.program.log})")
        raise StartFailed(f"{kept.program.name} was not ready within 20 s; the end of {kept.program.log}:\n{kept.last_words()}")


def free_port(wanted: int = 0) -> int:
    """`wanted` if no program listens there, else a free port of 127.0.0.1, which no other caller gets within a minute."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                if port == 0:
                    _reserve(probe)
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartFailed("no free port on 127.0.0.1")


def _reserve(probe: socket.socket) -> None:
    """Leave a connection in TIME_WAIT on its port, as https://github.com/Yelp/ephemeral-port-reserve does.

    A program that binds with SO_REUSEADDR gets such a port, and the kernel gives it to no other for 60 s; a port that was only
    bound and closed can be another program's a second later, when ours has been imported.
    """
    probe.listen(1)
    with socket.create_connection(probe.getsockname(), timeout=5.0) as caller:
        answering, _ = probe.accept()
        answering.close()  # first: the side that closes first is the one that waits
        caller.recv(1)
