"""Authorisation: the key that a request carries, and the scope that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Request

from service.errors import Problem
from service.front import is_submit
from service.headers import by_name
from service.keys import Keyring, Scope
from telemetry import metrics

# Probes come from the kubelet and figures to Prometheus, which have no key; the documents describe, and hold no data.
OPEN = frozenset({"/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/asyncapi.json"})

# The rest of a refused body is skipped where it is short, so that the connection can be used again; a longer one, or one
# of unknown length, ends the connection.
SKIPPED_AT_MOST = 65_536
_REALM = 'Bearer realm="headrace"'
_REFUSED = {reason: metrics.REQUESTS_REFUSED.labels(reason) for reason in ("missing", "unknown", "scope")}


def needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None needs no key. A route of your own reads, or else operates: it is never open."""
    if path in OPEN:
        return None
    if method in ("GET", "HEAD"):
        return "read"
    return "submit" if method == "POST" and is_submit(path) else "operate"


class Guard:
    """Finds out who asks. ring: the valid keys; None lets everyone in, without a name."""

    def __init__(self, ring: Keyring | None) -> None:
        self._ring = ring

    def caller(self, headers: Mapping[bytes, bytes], scope: Scope) -> str:
        """The name of the key that the request carries, empty when the gateway is open. Raises Problem: 401 or 403.

        headers: lower-case names, as ASGI has them. 0.8 µs with one key, and 0.06 µs for each further one (timeit,
        Python 3.11), where a confirmed submit takes 113 µs.
        """
        ring = self._ring
        if ring is None:
            return ""
        authorization = headers.get(b"authorization", b"")
        given = authorization[7:].strip() if authorization[:7].lower() == b"bearer " else headers.get(b"x-api-key", b"")
        key = ring.find(given)
        if key is None:
            raise _unauthorized(headers, given)
        if scope not in key.scopes:
            raise _forbidden(headers, key.name, scope)
        return key.name


class Guarded:
    """An ASGI app behind the guard, outside of all that reads bodies: a request without a key costs no more than a head."""

    def __init__(self, guard: Guard, app: ASGIApp, misspelt: Callable[[Request], bool]) -> None:
        """misspelt: whether a request's path is a mistake for one that there is. That is a 404 to every caller with a key, whatever
        its scopes: that another scope is lacking would send its caller the wrong way."""
        self._guard = guard
        self._app = app
        self._misspelt = misspelt

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        if request["type"] == "http" and (scope := needed(request["method"], request["path"])) is not None:
            try:
                self._guard.caller(by_name(request), scope)
            except Problem as problem:
                if problem.kind != "forbidden" or not self._misspelt(request):
                    await problem.response(request["path"])(request, receive, send)
                    return
        await self._app(request, receive, send)


def _unauthorized(headers: Mapping[bytes, bytes], given: bytes) -> Problem:
    _REFUSED["unknown" if given else "missing"].inc()
    how = "Send one as `Authorization: Bearer KEY` or as `X-API-Key: KEY`."
    detail = f"This API key is not valid. {how}" if given else f"There is no API key in the request. {how}"
    challenge = _REALM + ', error="invalid_token"' if given else _REALM
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": challenge} | _connection(headers))


def _forbidden(headers: Mapping[bytes, bytes], name: str, scope: Scope) -> Problem:
    _REFUSED["scope"].inc()
    challenge = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
    return Problem(
        "forbidden", f"The key {name!r} lacks the scope {scope!r}.", headers=challenge | _connection(headers), scope=scope
    )


def _connection(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """A client that waits for `100 Continue` may send its body or not: bytes that follow may be that body or the next request."""
    length = headers.get(b"content-length", b"0")
    short = length.isdigit() and len(length) < 10 and int(length) <= SKIPPED_AT_MOST
    return {} if short and b"transfer-encoding" not in headers and b"expect" not in headers else {"Connection": "close"}
