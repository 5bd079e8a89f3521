"""The headers of a request by name: one that may stand once and stands twice is refused, and not picked from."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

from service.errors import Problem

# Of two, it is unknown which one the client meant, and a proxy on the way may have read the other one.
_ONCE = {
    b"host": "Host",
    b"authorization": "Authorization",
    b"x-api-key": "X-API-Key",
    b"content-type": "Content-Type",
    b"content-length": "Content-Length",
    b"idempotency-key": "Idempotency-Key",
}
# W3C Trace Context and Baggage: several lines are one list, in their order.
_LISTS = frozenset({b"tracestate", b"baggage"})
_TRACEPARENT = b"traceparent"


def by_name(scope: Scope) -> dict[bytes, bytes]:
    """Values by lower-case name, as ASGI has them. Raises Problem (400) for a header that may stand once and stands twice.

    Where no name stands twice, which is the rule, this is two lengths more than a dict: 0.1 µs of a submit's 113 (timeit).
    """
    lines = scope["headers"]
    headers: dict[bytes, bytes] = dict(lines)
    return headers if len(headers) == len(lines) else _merged(lines, headers)


def _merged(lines: Iterable[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in lines:
        values.setdefault(name, []).append(value)
    for name, all_of in values.items():
        if len(all_of) == 1:
            continue
        if name in _ONCE:
            raise Problem("bad-header", f"{_ONCE[name]} stands {len(all_of)} times in the request; send it once.")
        if name in _LISTS:
            headers[name] = b",".join(all_of)
    if len(values.get(_TRACEPARENT, ())) > 1:  # Trace Context, section 3.2: the trace begins again
        del headers[_TRACEPARENT]
    return headers
