"""The limits on a request's head and body that uvicorn's httptools protocol lacks, and its own refusals as problems."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import RETRY_AFTER, TITLES
from telemetry import metrics

Phase = Literal["head", "body"]


class LimitedProtocol(HttpToolsProtocol):
    """Bounds the bytes of a head (431), the time that head and body may take (408), and the connections at once (503).

    A request that arrives whole, as most do, never starts a timer.
    """

    max_headers: ClassVar[int] = 16_384
    max_connections: ClassVar[int] = 2048
    seconds: ClassVar[dict[Phase, float]] = {"head": 10.0, "body": 10.0}

    _head_bytes = 0
    _refused = False
    _phase: Phase | None = "head"  # what the client still owes us; None between requests
    _timed: Phase | None = None  # what the timer is for
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse("busy", f"More than {self.max_connections} connections are open.")
        else:
            self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._phase != self._timed:
            self._time()

    def on_message_begin(self) -> None:
        self._head_bytes, self._phase = 0, "head"
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._phase = "body"
        if not self._refused:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._phase = None
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self._refuse("bad-request", msg)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_headers and not self._refused:
            self._refuse("headers-too-large", f"The head of the request is longer than {self.max_headers} bytes.")

    def _time(self) -> None:
        """Begin to wait for what is owed; what came before is no longer waited for."""
        self._stop_timer()
        if self._phase is not None and not self._refused:
            self._timed = self._phase
            self._timer = self.loop.call_later(self.seconds[self._phase], self._late, self._phase)

    def _late(self, phase: Phase) -> None:
        self._refuse("timeout", f"The {phase} of the request took longer than {self.seconds[phase]:g} s.")

    def _stop_timer(self) -> None:
        self._timed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, kind: str, detail: str) -> None:
        """Answer with a problem document and close."""
        self._refused = True
        self._stop_timer()
        metrics.JOBS_REJECTED.labels(kind).inc()
        status, title = TITLES[kind]
        body = orjson.dumps({"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail})
        retry = b"retry-after: %s\r\n" % RETRY_AFTER.encode() if status == 503 else b""
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s"
                % (status, title.encode(), len(body), retry, body)
            )
            self.transport.close()
