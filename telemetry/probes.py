"""The HTTP side of a program that has no other: /livez, /readyz, /metrics, and what the program adds."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from telemetry import logs
from telemetry.listening import cannot_listen
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("probes")

Act = Callable[[Any], Awaitable[Any]]


class Probes:
    """Listens from its making on, and serves from `open` until `close`. alive, ready: each returns what is wrong, or nothing;
    addresses in it stay here. more: paths, and the JSON that they tell. acts: paths for PUT; each gets the body's JSON and returns
    what is answered, or raises SettingsError for what it cannot take. supervisor: the program's, which keeps it serving; without
    one it has its own.
    """

    def __init__(
        self,
        host: str,
        port: int,
        alive: Callable[[], list[str]],
        ready: Callable[[], list[str]],
        more: Mapping[str, Callable[[], Any]],
        supervisor: Supervisor | None = None,
        setting: str = "HEADRACE_PROBE",
        acts: Mapping[str, Act] | None = None,
    ) -> None:
        """setting: the first part of the names of those for host and port. Raises SettingsError where nothing can listen there."""
        self._alive, self._ready, self._more, self._acts = alive, ready, more, acts or {}
        self._owner = supervisor or Supervisor()
        try:
            self._socket = socket.create_server((host, port), reuse_port=False)
        except OSError as error:
            raise cannot_listen(setting, host, port, error) from None
        self._serving: Supervised | None = None

    def open(self) -> None:
        """Once is enough, and more do no harm."""
        if self._serving is not None:
            return
        host, port = self._socket.getsockname()[:2]
        _log.info("probes and metrics", url=f"http://{host}:{port}", port=port)
        self._serving = self._owner.start("probes", self._serve)

    async def close(self) -> None:
        if self._serving is not None:
            await self._serving.stop()
        self._socket.close()

    async def _serve(self, beat: Beat) -> None:
        """Until cancelled. The socket is kept for the next run: a server closes the one that it is given."""
        from telemetry import probes_server

        app = probes_server.application(self._alive, self._ready, self._more, self._acts)
        await probes_server.serve(app, self._socket.dup(), beat)
