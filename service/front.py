"""The app as the server sees it: a submit goes straight to its endpoint, everything else to FastAPI.

On its way to an endpoint FastAPI passes seven middlewares and routers. The submit route needs none of them: a confirmed submit
costs 109 µs of CPU without, and 227 with them (docs/decisions/0001-front.md).
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SUBMIT_PATH = "/v1/jobs/"


class Front:
    """An ASGI app. submit: gets POST /v1/jobs/{type}. other: gets the rest."""

    def __init__(self, submit: ASGIApp, other: ASGIApp) -> None:
        self._submit = submit
        self._other = other

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not a coroutine of its own: that would be one more frame in every request.
        if scope["type"] == "http":
            if scope["method"] == "POST" and (is_submit(scope["path"]) or is_submit(scope.get("raw_path", b"").decode("latin-1"))):
                return self._submit(scope, receive, send)
            if scope["method"] == "HEAD":  # the answer to a GET, of which the server sends the head (RFC 9110, section 9.3.2)
                return self._other({**scope, "method": "GET"}, receive, _Headless(send))
        return self._other(scope, receive, send)


class _Headless:
    """Sends an answer without its body."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        await self._send({**message, "body": b""} if message["type"] == "http.response.body" else message)


def is_submit(path: str) -> bool:
    """Whether a POST to `path` is a submit. An encoded slash, %2F, is a part of a name, which then is no job type's."""
    return path.startswith(SUBMIT_PATH) and "/" not in path[len(SUBMIT_PATH) :]
