"""Additions to uvicorn's httptools protocol: limits on a request's head and body, refusals as problems, and answers in order."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, ClassVar, Literal

import httptools
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import RETRY_AFTER, TITLES
from telemetry import metrics

Phase = Literal["head", "body"]


class LimitedProtocol(HttpToolsProtocol):
    """Bounds the bytes of a head (431), the time that head and body may take (408), and the connections at once (503).

    A wish to upgrade is not granted, and the request is answered as if it had none (RFC 9110, section 7.8). Trailers are dropped: a
    field that came behind the body was not checked when it came (section 6.5.1).

    A request that arrives whole, as most do, never starts a timer.
    """

    max_headers: ClassVar[int] = 16_384
    max_connections: ClassVar[int] = 2048
    seconds: ClassVar[dict[Phase, float]] = {"head": 10.0, "body": 10.0}

    _head_bytes = 0
    _refused = False
    _due: bytes | None = None  # a refusal that waits until the requests before it are answered
    _upgrading = False  # the head that was just read asks for another protocol: it is read again, without that
    _running: Any = None  # the request that is being answered, or was last
    _phase: Phase | None = "head"  # what the client still owes us; None between requests
    _timed: Phase | None = None  # what the timer is for
    _timer: Any = None

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
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_again(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("This is not a request in HTTP/1.1.")
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
        if self._phase == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._upgrading = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._upgrading:
            return
        if not self._refused:
            super().on_headers_complete()  # with the phase still "head": what raises here is an error of the head
        self._phase = "body"

    def on_body(self, body: bytes) -> None:
        """As uvicorn's, which asks besides whether a WebSocket begins: these two calls are in every submit."""
        cycle = self.cycle
        if self._refused or cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._phase, cycle = None, self.cycle
        if not self._refused and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._due is not None and not self.pipeline and self.cycle.response_complete:
            self._end(self._due)

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self._refuse("bad-request", msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.waiting_for_100_continue:
            app = _Expecting(app)
        super()._start_asgi_task(cycle, app)

    def _read_again(self, rest: bytes) -> None:
        """Give a parser the head without its wish, which httptools takes for the end of HTTP, and what came behind it."""
        if not self._upgrading or self._refused:
            self.send_400_response("CONNECT is for proxies.")
            return
        self._upgrading = False
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % (name, _without_upgrade(name, value)) for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_headers and not self._refused:
            self._refuse("headers-too-large", f"The head of the request is longer than {self.max_headers} bytes.")

    def _time(self) -> None:
        """Begin to wait for the bytes that are owed; earlier ones are no longer waited for."""
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
        """Answer with a problem document and close. Requests that came before on this connection are answered first."""
        self._refused = True
        self._stop_timer()
        metrics.JOBS_REJECTED.labels(kind).inc()
        answer = _refusal(kind, detail)
        cycle = self.cycle
        if cycle is None or (self._phase != "body" and cycle.response_complete):
            self._end(answer)
        elif self._phase != "body":
            self._due = answer  # the last request before this one has no answer yet
        elif self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # its turn has not come
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running
            self._due = answer
        else:
            self._end(b"" if cycle.response_started else answer)

    def _end(self, answer: bytes) -> None:
        self._due = None
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class _Expecting:
    """Around the app, for one request that waits for `100 Continue`. Answered before its body was asked for, its client may send
    the body or not: bytes that follow may be that body or the next request, so the connection ends (RFC 9110, section 10.1.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = False

        async def ask() -> MutableMapping[str, Any]:
            nonlocal asked
            asked = True
            return await receive()

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and not asked:
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, ask, answer)


def _without_upgrade(name: bytes, value: bytes) -> bytes:
    if name != b"connection":
        return value
    return b",".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")


def _refusal(kind: str, detail: str) -> bytes:
    status, title = TITLES[kind]
    body = orjson.dumps({"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail})
    retry = b"retry-after: %s\r\n" % RETRY_AFTER.encode() if status == 503 else b""
    return b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s" % (
        status,
        title.encode(),
        len(body),
        retry,
        body,
    )
