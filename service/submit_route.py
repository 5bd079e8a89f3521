"""`POST /v1/jobs/{type}`: the hot path. Bytes in, one parse, one validation, one encode, one confirm, bytes out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from core import payload
from core.catalogue import Catalogue
from core.clock import Clock
from core.envelope import Envelope, trace_headers
from core.identity import job_id_from_key, new_job_id
from core.model import Contract
from core.ports import Message, Queued
from service import query
from service.body import read_body
from service.errors import Problem, problem_of
from service.front import SUBMIT_PATH
from service.guard import Guard
from service.headers import by_name
from service.settings import GatewaySettings
from service.submit import Submitter
from telemetry import metrics
from telemetry.tracing import new_traceparent

# The Idempotency-Key draft asks for a structured-field string; a bare token is what most clients send.
_KEY = re.compile(r'"([\x21\x23-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255})')
_JSON = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)


class SubmitRoute:
    """An ASGI endpoint: no dependency graph, no second model, no log line a request."""

    def __init__(self, submitter: Submitter, catalogue: Catalogue, settings: GatewaySettings, clock: Clock, guard: Guard) -> None:
        self._submitter = submitter
        self._guard = guard
        self._catalogue = catalogue
        self._most = settings.max_body
        self._clock = clock
        self._counters = {c.name: (metrics.JOBS_SUBMITTED.labels(c.name), metrics.JOBS_ACCEPTED.labels(c.name)) for c in catalogue}
        # The constant part of the answer.
        self._tails = {c.name: _tail(c) for c in catalogue}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, headers, body = 202, *await self._submit(scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # every error is a problem document
            response = problem_of(error).response(scope["path"])
            await response(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _submit(self, scope: Scope, receive: Receive) -> tuple[list[tuple[bytes, bytes]], bytes]:
        headers = by_name(scope)
        caller = self._guard.caller(headers, "submit")  # before anything is looked up or read
        if scope["query_string"]:
            query.refuse(scope["query_string"], {})
        contract = self._catalogue[scope["path"][len(SUBMIT_PATH) :]]
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and not _JSON.fullmatch(content_type):
            raise Problem("unsupported-media-type", f"Send application/json, not {content_type.decode('latin-1') or 'nothing'!r}.")
        body = await read_body(receive, headers.get(b"content-length", b""), self._most)
        payload.read(contract.payload, body)
        envelope = self._envelope(contract, headers, caller)
        submitted, accepted = self._counters[contract.name]
        submitted.inc()
        carried = envelope.headers()
        await self._submitter.submit(
            Message(envelope.job_id, contract.name, carried, body, priority=envelope.priority),
            Queued(envelope.job_id, contract.name, contract.queues, envelope.accepted_at),
        )
        accepted.inc()
        return self._answer(envelope, carried["cloudEvents_time"])

    def _envelope(self, contract: Contract, headers: Mapping[bytes, bytes], caller: str) -> Envelope:
        now = self._clock.wall()
        key = headers.get(b"idempotency-key")
        job_id = new_job_id() if key is None else job_id_from_key(_key(key), contract.name, caller)
        return Envelope(
            job_id=job_id,
            job_type=contract.name,
            accepted_at=now,
            priority=contract.priority,
            deadline=None if contract.deadline is None else now + contract.deadline,
            trace=trace_headers(headers) or (("traceparent", new_traceparent(job_id)),),
        )

    def _answer(self, envelope: Envelope, accepted_at: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        job_id = envelope.job_id.encode()
        body = b'{"job_id":"%b","accepted_at":"%b",%b' % (
            job_id,
            accepted_at.encode(),
            self._tails[envelope.job_type],
        )
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"location", b"/v1/jobs/" + job_id),
        ]
        return headers, body


def _key(value: bytes) -> str:
    match = _KEY.fullmatch(value.decode("latin-1"))
    if match is None:
        raise Problem("bad-header", "Idempotency-Key takes 1 to 255 visible ASCII characters, in double quotes or without.")
    return match[1] or match[2]


def _tail(contract: Contract) -> bytes:
    deliveries = ",".join(f'{{"queue":"{queue}","state":"queued"}}' for queue in contract.queues)
    return f'"job_type":"{contract.name}","deliveries":[{deliveries}]}}'.encode()
