"""The HTTP side of a program that has no other: /livez, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from telemetry import logs

_log = logs.get("probes")


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the program has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Probes:
    """Serves until `close`. alive, ready: each returns what is wrong, or nothing. more: paths, and the JSON that they tell."""

    def __init__(
        self,
        host: str,
        port: int,
        alive: Callable[[], list[str]],
        ready: Callable[[], list[str]],
        more: Mapping[str, Callable[[], Any]],
    ) -> None:
        routes = [Route("/livez", _probe(alive)), Route("/readyz", _probe(ready)), Route("/metrics", _metrics)]
        app = Starlette(routes=[*routes, *(Route(path, _teller(tell)) for path, tell in more.items())])
        self._server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1))
        self._socket = socket.create_server((host, port), reuse_port=False)
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        host, port = self._socket.getsockname()[:2]
        _log.info("probes and metrics", url=f"http://{host}:{port}", port=port)
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    async def close(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=2.0)
        self._socket.close()


def _probe(wrong: Callable[[], list[str]]) -> Callable[[Request], JSONResponse]:
    def answer(_: Request) -> JSONResponse:
        reasons = wrong()
        return JSONResponse({"status": "fail" if reasons else "pass", "reasons": reasons}, status_code=503 if reasons else 200)

    return answer


def _teller(tell: Callable[[], Any]) -> Callable[[Request], Any]:
    async def answer(_: Request) -> JSONResponse:  # a coroutine: on the loop that counts, not in a thread beside it
        return JSONResponse(tell())

    return answer


def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
