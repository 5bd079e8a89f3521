"""Problems (RFC 9457): the one place where an error becomes an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from core.errors import (
    BadRecord,
    BrokerError,
    InvalidPayload,
    MalformedBody,
    NotReplayable,
    StoreUnavailable,
    TooLarge,
    UnknownJobType,
    Unpublishable,
    WindowFull,
)
from telemetry import logs, metrics
from telemetry.reasons import public

_log = logs.get("service")

RETRY_AFTER = "2"  # seconds; long enough for a reconnect, short enough that no client gives up

TITLES = {
    "unknown-job-type": (404, "Unknown job type"),
    "unauthorized": (401, "A valid API key is needed"),
    "forbidden": (403, "The API key lacks a scope"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "bad-request": (400, "Not a request in HTTP"),
    "timeout": (408, "The request took too long"),
    "too-large": (413, "The body is too long"),
    "unsupported-media-type": (415, "The body must be JSON"),
    "malformed-body": (400, "The body is not a JSON object"),
    "bad-header": (400, "A header cannot be used"),
    "bad-parameter": (422, "A parameter cannot be used"),
    "unpublishable": (422, "The job cannot be written as a message"),
    "not-replayable": (422, "The message of the dead letter cannot be sent"),
    "invalid-payload": (422, "The payload is not what the contract asks for"),
    "headers-too-large": (431, "The headers are too long"),
    "not-confirmed": (503, "The job was not confirmed"),
    "busy": (503, "Too much is under way"),
    "store-unavailable": (503, "The outcome store is away"),
    "bad-record": (500, "What is stored of it cannot be read"),
    "no-store": (501, "There is no outcome store"),
    "internal": (500, "Something went wrong here"),
}


class Problem(Exception):
    """An answer that is a problem document. kind: a key of TITLES."""

    def __init__(self, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = TITLES[kind]
        self.detail = detail
        self.headers = dict(headers or {})
        self.extensions = extensions

    def response(self, instance: str) -> Response:
        """The document. `instance` is the path of the request."""
        metrics.JOBS_REJECTED.labels(self.kind).inc()
        document = {
            "type": f"/problems/{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.extensions,
        }
        return Response(orjson.dumps(document), self.status, self.headers, "application/problem+json")


def problem_of(error: Exception) -> Problem:
    """Map any error of ours; any other error is a 500 without details."""
    match error:
        case Problem():
            return error
        case UnknownJobType():
            return Problem("unknown-job-type", str(error), near=list(error.near))
        case InvalidPayload():
            problems = [{"pointer": p.pointer, "detail": p.detail} for p in error.problems]
            return Problem("invalid-payload", str(error), errors=problems)
        case MalformedBody():
            return Problem("malformed-body", str(error))
        case WindowFull():
            return Problem("busy", public(str(error)), headers={"Retry-After": RETRY_AFTER})
        case TooLarge():
            detail = f"The job has {error.size} bytes; the broker takes at most {error.limit} in one message."
            return Problem("too-large", detail, size=error.size, limit=error.limit)
        case NotReplayable():
            return Problem("not-replayable", str(error))
        case Unpublishable():
            return Problem("unpublishable", public(str(error)))
        case BrokerError():
            detail = f"{public(str(error))}. It may run or may not; send it again with the same Idempotency-Key."
            return Problem("not-confirmed", detail, headers={"Retry-After": RETRY_AFTER})
        case StoreUnavailable():
            return Problem("store-unavailable", public(str(error)), headers={"Retry-After": RETRY_AFTER})
        case BadRecord():
            _log.error("a stored record cannot be read", why=logs.brief(error))
            return Problem("bad-record", "The outcome store works, and has a record of it that cannot be read; the log says more.")
    _log.error("an unexpected error", exc_info=error)
    return Problem("internal", "The error is in the log.")


async def answer_problem(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for all of these."""
    return problem_of(error).response(request.url.path)


async def answer_http(request: Request, error: Any) -> Response:
    """Starlette's own 404 and 405, as problems."""
    if error.status_code == 405:
        return Problem("method-not-allowed", f"{request.method} is not for this path.", headers=error.headers).response(
            request.url.path
        )
    if error.status_code == 404:
        return Problem("not-found", _nothing_at(request)).response(request.url.path)
    return Problem("bad-parameter", str(error.detail)).response(request.url.path)


def _nothing_at(request: Request) -> str:
    path = request.url.path.rstrip("/")
    if path != request.url.path and any(
        route.matches({**request.scope, "path": path})[0] is Match.FULL for route in request.app.router.routes
    ):
        return f"There is nothing at this path; without the slash at its end, {path}, there is."
    return "There is nothing at this path."


async def answer_validation(request: Request, error: Any) -> Response:
    """FastAPI's validation of query, path and body, as a problem that names each field."""
    problems = [
        {
            "pointer": "/" + "/".join(map(str, item["loc"])),
            "detail": _no_json(request, item) or _unknown(request, item) or item["msg"],
        }
        for item in error.errors()
    ]
    detail = "; ".join(f"{p['pointer']}: {p['detail']}" for p in problems)
    return Problem("bad-parameter", detail, errors=problems).response(request.url.path)


def _no_json(request: Request, item: Mapping[str, Any]) -> str | None:
    """The remedy for a body that was not read as JSON because its header names another content type."""
    content_type = request.headers.get("content-type", "")
    if item["loc"] != ("body",) or item["type"] == "missing" or "json" in content_type:
        return None
    return f"Send it with content-type: application/json, not {content_type or 'nothing'!r}"


def _unknown(request: Request, item: Mapping[str, Any]) -> str | None:
    """The remedy for a field that the body's model does not have; None where another thing is wrong."""
    if item["type"] != "extra_forbidden":
        return None
    field = getattr(request.scope.get("route"), "body_field", None)
    known = getattr(getattr(field, "field_info", None), "annotation", None)
    allowed = getattr(known, "model_fields", None) if len(item["loc"]) == 2 else None  # of a field within a field, its schema tells
    return "There is no such field here" + (f"; allowed: {', '.join(allowed)}." if allowed else ".")
