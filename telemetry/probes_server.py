"""The HTTP server on a program's probe port. Imported when it begins to answer: Starlette and uvicorn are a sixth of a start."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import SettingsError
from telemetry.probes import Act
from telemetry.reasons import public
from telemetry.supervisor import Beat

# The body of a PUT here is a few numbers.
_MOST_BODY = 1000


def application(
    alive: Callable[[], list[str]],
    ready: Callable[[], list[str]],
    more: Mapping[str, Callable[[], Any]],
    acts: Mapping[str, Act],
) -> Starlette:
    """The arguments are those of Probes."""
    routes = [Route("/livez", _probe(alive)), Route("/readyz", _probe(ready)), Route("/metrics", _metrics)]
    routes += [Route(path, _teller(tell)) for path, tell in more.items()]
    routes += [Route(path, _taker(act), methods=["PUT"]) for path, act in acts.items()]
    return Starlette(routes=routes)


async def serve(app: Starlette, listening: socket.socket, beat: Beat) -> None:
    """Until cancelled; then the socket is closed."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = _Server(config, beat)
    try:
        await server.serve(sockets=[listening])
    finally:  # a server that is cancelled leaves all of them open
        for part in getattr(server, "servers", ()):
            part.close()
        listening.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()


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
