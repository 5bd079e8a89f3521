"""Bodies of requests: read whole, and bounded, before anything is done with them."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Problem


class Bounded:
    """An ASGI app in which no route gets a body of more than `most` bytes: 413, before it is read if it has a Content-Length."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        length = headers.get(b"content-length", b"")
        if length or b"transfer-encoding" in headers:
            try:
                body = await read_body(receive, length, self._most)
            except ClientDisconnect:
                return
            except Problem as problem:
                await problem.response(scope["path"])(scope, receive, send)
                return
            receive = _given(body, receive)
        await self._app(scope, receive, send)


async def read_body(receive: Receive, length: bytes, most: int) -> bytes:
    """The whole body. Raises Problem for one that is too long, before it is read, and ClientDisconnect. One that is too slow ends
    the connection (`protocol.py`).

    length: the Content-Length header, empty where there is none.
    """
    if len(length) > len(str(most)) or (length.isdigit() and int(length) > most):
        raise _too_large(f"The body has {length.decode('latin-1')} bytes; at most {most} are taken.")
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > most:
            raise _too_large(f"The body is longer than {most} bytes.")
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body once, and then what the server says."""
    left: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> MutableMapping[str, Any]:
        return left.pop() if left else await receive()

    return give


def _too_large(detail: str) -> Problem:
    return Problem("too-large", detail, headers={"Connection": "close"})
