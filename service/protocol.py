"""The limits on a request's head that uvicorn's httptools protocol lacks."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import TITLES
from telemetry import metrics


class LimitedProtocol(HttpToolsProtocol):
    """Bounds the bytes of a head (431), the time it may take (408), and the connections at once (503)."""

    max_headers: ClassVar[int] = 16_384
    head_timeout: ClassVar[float] = 10.0
    max_connections: ClassVar[int] = 2048

    _head_bytes = 0
    _refused = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse("busy", f"More than {self.max_connections} connections are open.")
            return
        self._head_timer = self.loop.call_later(self.head_timeout, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._late)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if not self._refused:
            super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_headers and not self._refused:
            self._refuse("headers-too-large", f"The head of the request is longer than {self.max_headers} bytes.")

    def _late(self) -> None:
        self._head_timer = None
        self._refuse("timeout", f"The head of the request took longer than {self.head_timeout:g} s.")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, kind: str, detail: str) -> None:
        """Answer with a problem document and close."""
        self._refused = True
        self._stop_timer()
        metrics.JOBS_REJECTED.labels(kind).inc()
        status, title = TITLES[kind]
        body = orjson.dumps({"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail})
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\nretry-after: 2\r\n"
                b"connection: close\r\n\r\n%s" % (status, title.encode(), len(body), body)
            )
            self.transport.close()
