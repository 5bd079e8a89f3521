"""The gateway as an ASGI app: the only place here that names adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from jobs.adapters import choose
from jobs.catalogue import Catalogue
from jobs.clock import Clock, SystemClock
from jobs.errors import HeadraceError, StoreUnavailable
from jobs.journal import Journal
from jobs.ports import Broker, OutcomeStore
from service import errors, routes
from service.front import SUBMIT_PATH, Front
from service.guard import Guard, Guarded
from service.key_files import KeyFiles, is_loopback, keys_of
from service.openapi import add_contracts, add_security
from service.settings import GatewaySettings
from service.submit import Submitter
from service.submit_route import SubmitRoute
from telemetry import eventloop, logs

_log = logs.get("service")


class Gateway(Front):
    """The whole gateway. api: the FastAPI app behind the submit route, for more routes of your own."""

    def __init__(self, submit: SubmitRoute, api: FastAPI, parts: routes.Parts, guard: Guard) -> None:
        super().__init__(submit, Guarded(guard, api))
        self.api = api
        self._parts = parts

    def begin_to_close(self) -> None:
        """Be unready from now on: SIGTERM has come."""
        self._parts.closing = True


def create(settings: GatewaySettings, catalogue: Catalogue) -> Gateway:
    """The gateway on the adapters and the keys that the settings name. Raises SettingsError."""
    clock = SystemClock()
    keys = keys_of(settings)
    broker, store = choose.broker(settings, catalogue.topology(), clock), choose.outcomes(settings, clock)
    return build(settings, catalogue, broker, store, choose.journal(settings, clock), clock, keys)


def build(
    settings: GatewaySettings,
    catalogue: Catalogue,
    broker: Broker,
    store: OutcomeStore | None,
    journal: Journal | None,
    clock: Clock,
    keys: KeyFiles | None,
) -> Gateway:
    """The gateway on given adapters, which its lifespan opens and closes. keys: None lets everyone in."""
    guard = Guard(keys.ring if keys is not None else None)
    parts = routes.Parts(settings, catalogue, broker, store, journal, clock)
    submitter = Submitter(broker, store, settings, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await _open(broker, store, journal)
        background = [asyncio.create_task(eventloop.watch())]
        if keys is not None:
            background.append(asyncio.create_task(keys.watch()))
        else:
            _tell_that_it_is_open(settings)
        yield
        for task in background:
            task.cancel()
        await submitter.drain(settings.store_timeout)
        await broker.close()
        for part in (store, journal):
            if part is not None:
                await part.close()

    api = FastAPI(title="Headrace", version="1.0.0", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    submit = SubmitRoute(submitter, catalogue, settings, clock, guard)
    api.router.routes.append(Route(SUBMIT_PATH + "{job_type}", submit, methods=["POST"]))  # for the Allow header of a 405
    document = _document(api, catalogue)
    api.include_router(routes.operations(parts))
    api.include_router(routes.scaling(parts))
    api.include_router(routes.probes(parts, document))
    api.add_api_route("/openapi.json", document, include_in_schema=False)
    api.add_exception_handler(RequestValidationError, errors.answer_validation)
    api.add_exception_handler(HTTPException, errors.answer_http)
    for kind in (errors.Problem, HeadraceError, Exception):
        api.add_exception_handler(kind, errors.answer_problem)
    return Gateway(submit, api, parts, guard)


def _tell_that_it_is_open(settings: GatewaySettings) -> None:
    if is_loopback(settings.host):
        _log.info("open: no API key is asked for, and only this machine reaches it", host=settings.host)
    else:
        _log.warning("open: no API key is asked for, and others reach it", host=settings.host, setting="HEADRACE_API_KEYS=open")


async def _open(broker: Broker, store: OutcomeStore | None, journal: Journal | None) -> None:
    """Open all. What is away is waited for by its own adapter: the gateway starts, and says that it is not ready."""
    await broker.open()
    try:
        for part in (store, journal):
            if part is not None:
                await part.open()
    except StoreUnavailable as error:
        _log.warning("the outcome store is away; jobs are accepted without it", why=str(error))


def _document(api: FastAPI, catalogue: Catalogue) -> Any:
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(add_security(add_contracts(api.openapi(), catalogue)))
        return made

    return document
