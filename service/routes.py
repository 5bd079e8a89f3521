"""Every route but the submit route: status, dead letters, probes, documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from core.catalogue import Catalogue
from core.clock import Clock
from core.identity import is_job_id
from core.journal import Journal
from core.ports import Broker, DeadLetter, OutcomeStore
from service import dead_letters, views
from service.asyncapi import asyncapi
from service.errors import Problem
from service.health import StoreHealth
from service.reference import host_of, page
from service.settings import GatewaySettings
from telemetry import logs, metrics
from telemetry.reasons import public
from telemetry.supervisor import Supervisor

_log = logs.get("service")


@dataclass
class Parts:
    """The parts that the routes use. closing: set once SIGTERM has come. unready: why, as the log gave it last."""

    settings: GatewaySettings
    catalogue: Catalogue
    broker: Broker
    store: OutcomeStore | None
    journal: Journal | None
    clock: Clock
    supervisor: Supervisor
    health: StoreHealth
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    unready: str | None = None

    def known(self) -> OutcomeStore:
        """The outcome store. Raises Problem where there is none."""
        if self.store is None:
            raise Problem("no-store", "HEADRACE_OUTCOMES is none: nothing is recorded.")
        return self.store

    def journaled(self) -> Journal:
        """The controller's journal. Raises Problem where there is none."""
        if self.journal is None:
            raise Problem("no-store", "HEADRACE_OUTCOMES is none: no journal is kept.")
        return self.journal

    def why_unready(self) -> str | None:
        """Why no submit would be confirmed now, for anybody to see; a change is logged, with the address."""
        reason = "closing" if self.closing.is_set() else self.broker.unready()
        metrics.BROKER_UP.set(0 if reason else 1)
        if reason != self.unready:
            self.unready = reason
            _log.info("ready" if reason is None else "not ready", why=reason or "the broker can be used")
        return None if reason is None else public(reason)


class ReplayRequest(BaseModel):
    """Which dead letters to replay: those of a queue, of a job type, or both."""

    model_config = ConfigDict(extra="forbid")  # a mistyped filter that is ignored would replay more than was asked for

    queue: str | None = None
    job_type: str | None = None
    limit: int = Field(1000, ge=1, le=10_000, description="The most that one call replays.")


def operations(parts: Parts) -> APIRouter:
    """Jobs and dead letters."""
    router = APIRouter(prefix="/v1")

    @router.get("/jobs/{job_id}", tags=["jobs"], summary="What became of a job")
    async def job(job_id: str) -> JSONResponse:
        store = parts.known()
        if not is_job_id(job_id):
            raise Problem("bad-parameter", f"{job_id[:64]!r} is not a job id: a UUID in its canonical spelling.")
        record = await store.job(job_id)
        if record is None:
            unwritten = "or the outcome store did not take its record when it was accepted: it has one once it runs"
            raise Problem("not-found", f"No job has the id {job_id}, its retention is over, {unwritten}.")
        return JSONResponse(views.job(record))

    @router.get("/dead-letters", tags=["dead letters"], summary="List dead letters, the newest first")
    async def listed(
        queue: str | None = None,
        job_type: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> JSONResponse:
        try:
            found = await parts.known().dead_letters(queue=queue, job_type=job_type, cursor=cursor, limit=limit)
        except ValueError:
            raise Problem("bad-parameter", "The cursor is not one that a page gave.") from None
        return JSONResponse({"items": [views.dead_letter(item, whole=False) for item in found.items], "cursor": found.cursor})

    @router.post("/dead-letters/replay", tags=["dead letters"], summary="Replay the dead letters of a queue or a job type")
    async def replay_many(asked: ReplayRequest) -> JSONResponse:
        if asked.queue is None and asked.job_type is None:
            raise Problem("bad-parameter", "Name a queue or a job type.")
        rate = parts.settings.replay_rate
        done = await dead_letters.replay_many(
            asked.queue, asked.job_type, asked.limit, rate, parts.broker, parts.known(), parts.clock
        )
        return JSONResponse(asdict(done))

    @router.get("/dead-letters/{dead_id}", tags=["dead letters"], summary="One dead letter, with its payload")
    async def one(dead_id: str) -> JSONResponse:
        return JSONResponse(views.dead_letter(await _letter(parts, dead_id), whole=True))

    @router.post("/dead-letters/{dead_id}/replay", tags=["dead letters"], summary="Send it to its queue again", status_code=202)
    async def replay(dead_id: str) -> JSONResponse:
        letter = await _letter(parts, dead_id)
        await dead_letters.replay(letter, parts.broker, parts.known(), parts.clock)
        return JSONResponse({"dead_id": dead_id, "job_id": letter.job_id, "queue": letter.queue}, 202)

    @router.delete("/dead-letters/{dead_id}", tags=["dead letters"], summary="Forget it", status_code=204)
    async def drop(dead_id: str) -> Response:
        if not await parts.known().drop(dead_id):
            raise Problem("not-found", f"No dead letter has the id {dead_id[:64]!r}.")
        return Response(status_code=204)

    return router


def scaling(parts: Parts) -> APIRouter:
    """The observations and decisions of the controller."""
    router = APIRouter(prefix="/v1/scaling", tags=["scaling"])

    @router.get("", summary="The newest decision about each queue")
    async def newest() -> JSONResponse:
        known = parts.catalogue.topology().queues  # a queue that was renamed is in the journal for a while
        newest = await parts.journaled().latest()
        return JSONResponse({"items": [views.scaling(record) for record in newest if record.queue in known]})

    @router.get("/{queue}", summary="The decisions about one queue, the oldest first")
    async def one(queue: str, limit: Annotated[int, Query(ge=1, le=2000)] = 200) -> JSONResponse:
        if queue not in parts.catalogue.topology().queues:
            raise Problem("not-found", f"No contract names a queue {queue[:64]!r}.")
        return JSONResponse({"items": [views.scaling(record) for record in await parts.journaled().tail(queue, limit)]})

    return router


async def _letter(parts: Parts, dead_id: str) -> DeadLetter:
    letter = await parts.known().dead_letter(dead_id)
    if letter is None:
        raise Problem("not-found", f"No dead letter has the id {dead_id[:64]!r}.")
    return letter


def probes(parts: Parts, document: Callable[[], dict[str, Any]]) -> APIRouter:
    """Probes, metrics and the API's own documents. document: gives the OpenAPI document."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> JSONResponse:
        wrong = [public(why) for why in parts.supervisor.wrong]
        return JSONResponse({"status": "fail" if wrong else "pass", "reasons": wrong}, 503 if wrong else 200)

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """From memory only. The store's state is told, but no reason to be unready, since jobs are accepted without it."""
        reason = parts.why_unready()
        shown = {"status": "fail" if reason else "pass", "broker": reason or "ok", "outcomes": parts.health.state}
        return JSONResponse(shown, 503 if reason else 200)

    @router.get("/metrics")
    async def exposition() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/asyncapi.json")
    async def asyncapi_document() -> JSONResponse:
        return JSONResponse(asyncapi(parts.catalogue))

    @router.get("/docs")
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page(document(), host_of(request.headers.get("host", ""), parts.settings.port)))

    return router
