"""Problems (RFC 9457): the one place where an error becomes an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from jobs.errors import BrokerError, InvalidPayload, MalformedBody, StoreUnavailable, UnknownJobType, WindowFull
from telemetry import logs, metrics

_log = logs.get("service")

RETRY_AFTER = "2"  # seconds; long enough for a reconnect, short enough that nobody gives up

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
    "invalid-payload": (422, "The payload is not what the contract asks for"),
    "headers-too-large": (431, "The headers are too long"),
    "not-confirmed": (503, "The job was not confirmed"),
    "busy": (503, "Too much is under way"),
    "store-unavailable": (503, "The outcome store is away"),
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
    """Map any error of ours; what is not ours is a 500 that tells nothing."""
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
            return Problem("busy", str(error), headers={"Retry-After": RETRY_AFTER})
        case BrokerError():
            detail = f"{error}. It may run or may not; send it again with the same Idempotency-Key."
            return Problem("not-confirmed", detail, headers={"Retry-After": RETRY_AFTER})
        case StoreUnavailable():
            return Problem("store-unavailable", str(error), headers={"Retry-After": RETRY_AFTER})
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
        return Problem("not-found", "There is nothing at this path.").response(request.url.path)
    return Problem("bad-parameter", str(error.detail)).response(request.url.path)


async def answer_validation(request: Request, error: Any) -> Response:
    """FastAPI's validation of query and path parameters, as a problem."""
    problems = [{"pointer": "/" + "/".join(map(str, item["loc"])), "detail": item["msg"]} for item in error.errors()]
    return Problem("bad-parameter", "; ".join(p["detail"] for p in problems), errors=problems).response(request.url.path)
