"""The HTTP side of a program that has no other: /livez, /readyz, /metrics, and what the program adds."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jobs.errors import SettingsError
from telemetry import logs
from telemetry.listening import cannot_listen
from telemetry.reasons import public
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("probes")

# What is put here is a few numbers.
_MOST_BODY = 1000
Act = Callable[[Any], Awaitable[Any]]


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the program has its own. beat: called ten times a second while it serves."""

    def __init__(self, config: uvicorn.Config, beat: Beat) -> None:
        super().__init__(config)
        self._beat = beat

    async def on_tick(self, counter: int) -> bool:
        self._beat()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Probes:
    """Serves until `close`. alive, ready: each returns what is wrong, or nothing; addresses in it stay here. more: paths, and the
    JSON that they tell. acts: paths for PUT; each gets the body's JSON and returns what is answered, or raises SettingsError for
    what it cannot take. supervisor: the program's, which keeps it serving; without one it has its own.
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
        routes = [Route("/livez", _probe(alive)), Route("/readyz", _probe(ready)), Route("/metrics", _metrics)]
        routes += [Route(path, _teller(tell)) for path, tell in more.items()]
        routes += [Route(path, _taker(act), methods=["PUT"]) for path, act in (acts or {}).items()]
        self._app = Starlette(routes=routes)
        self._owner = supervisor or Supervisor()
        try:
            self._socket = socket.create_server((host, port), reuse_port=False)
        except OSError as error:
            raise cannot_listen(setting, host, port, error) from None
        self._serving: Supervised | None = None

    def open(self) -> None:
        host, port = self._socket.getsockname()[:2]
        _log.info("probes and metrics", url=f"http://{host}:{port}", port=port)
        self._serving = self._owner.start("probes", self._serve)

    async def close(self) -> None:
        if self._serving is not None:
            await self._serving.stop()
        self._socket.close()

    async def _serve(self, beat: Beat) -> None:
        """Until cancelled. The socket is kept for the next run: a server closes the one that it is given."""
        config = uvicorn.Config(self._app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        server, listening = _Server(config, beat), self._socket.dup()
        try:
            await server.serve(sockets=[listening])
        finally:  # a server that is cancelled leaves all of them open
            for part in getattr(server, "servers", ()):
                part.close()
            listening.close()
            for connection in list(server.server_state.connections):
                connection.shutdown()


def _probe(wrong: Callable[[], list[str]]) -> Callable[[Request], JSONResponse]:
    def answer(_: Request) -> JSONResponse:
        reasons = [public(reason) for reason in wrong()]
        return JSONResponse({"status": "fail" if reasons else "pass", "reasons": reasons}, status_code=503 if reasons else 200)

    return answer


def _teller(tell: Callable[[], Any]) -> Callable[[Request], Any]:
    async def answer(_: Request) -> JSONResponse:  # a coroutine: on the loop that counts, not in a thread beside it
        return JSONResponse(tell())

    return answer


def _taker(act: Act) -> Callable[[Request], Any]:
    async def answer(request: Request) -> JSONResponse:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BODY:
                return JSONResponse({"detail": f"the body is longer than {_MOST_BODY} bytes"}, status_code=413)
        try:
            return JSONResponse(await act(orjson.loads(body)))
        except orjson.JSONDecodeError as error:
            return JSONResponse({"detail": f"the body is no JSON: {error}"}, status_code=400)
        except SettingsError as error:
            return JSONResponse({"detail": str(error)}, status_code=400)

    return answer


def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
