"""The gateway as an ASGI app: the only place here that names adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

from adapters import choose
from core.catalogue import Catalogue
from core.clock import Clock, SystemClock
from core.errors import HeadraceError, StoreUnavailable
from core.journal import Journal
from core.ports import Broker, OutcomeStore
from service import errors, routes
from service.body import Bounded
from service.front import SUBMIT_PATH, Front
from service.guard import Guard, Guarded
from service.health import StoreHealth
from service.key_files import KeyFiles, is_loopback, keys_of
from service.openapi import VERSION, add_contracts, add_security
from service.query import only_known
from service.settings import GatewaySettings
from service.submit import Submitter
from service.submit_route import SubmitRoute
from telemetry import eventloop, logs, signals
from telemetry.supervisor import Supervisor

_log = logs.get("service")


class Gateway(Front):
    """The whole gateway. api: the FastAPI app behind the submit route, for more routes of your own."""

    def __init__(self, submit: SubmitRoute, api: FastAPI, parts: routes.Parts, guard: Guard) -> None:
        super().__init__(submit, Guarded(guard, Bounded(api, parts.settings.max_body), self._misspelt))
        self.api = api
        self._parts = parts

    def _misspelt(self, request: Scope) -> bool:
        """Whether no route has the path of a request, and it is that of a submit, or of another route, but for a slash too many."""
        path = request["path"]
        if self._has(request, path):
            return False
        return path.startswith(SUBMIT_PATH) or (path.endswith("/") and self._has(request, path.rstrip("/")))

    def _has(self, request: Scope, path: str) -> bool:
        return any(route.matches({**request, "path": path})[0] is not Match.NONE for route in self.api.router.routes)

    def begin_to_close(self) -> None:
        """Be unready from now on: SIGTERM has come."""
        self._parts.closing.set()


def create(settings: GatewaySettings, catalogue: Catalogue, supervisor: Supervisor | None = None) -> Gateway:
    """The gateway on the adapters and the keys that the settings name. Raises SettingsError."""
    clock, owner = SystemClock(), supervisor or Supervisor()
    keys = keys_of(settings)
    broker, store = choose.broker(settings, catalogue.topology(), clock, owner), choose.outcomes(settings, clock, owner)
    return build(settings, catalogue, broker, store, choose.journal(settings, clock, owner), clock, keys, owner)


def build(
    settings: GatewaySettings,
    catalogue: Catalogue,
    broker: Broker,
    store: OutcomeStore | None,
    journal: Journal | None,
    clock: Clock,
    keys: KeyFiles | None,
    supervisor: Supervisor | None = None,
) -> Gateway:
    """The gateway on given adapters, which its lifespan opens and closes. keys: None lets everyone in. supervisor: the program's,
    which owns what runs in the background; the lifespan ends that too.
    """
    owner = supervisor or Supervisor()
    guard = Guard(keys.ring if keys is not None else None)
    health = StoreHealth(store)
    parts = routes.Parts(settings, catalogue, broker, store, journal, clock, owner, health)
    submitter = Submitter(broker, store, settings, clock, owner, health)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with signals.unless(parts.closing):
            await _open(broker, store, journal, health)
        owner.start("event loop", eventloop.watch)
        if store is not None:
            owner.start("outcome store's health", health.watch)
        if keys is not None:
            owner.start("API keys", keys.watch)
        else:
            _tell_that_it_is_open(settings)
        yield
        await submitter.drain(settings.store_timeout)
        await broker.close()
        for part in (store, journal):
            if part is not None:
                await part.close()
        await owner.close()

    api = FastAPI(
        title="Headrace",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        dependencies=[Depends(only_known)],
        redirect_slashes=False,  # a redirected POST is another POST, or a GET: the 404 names the right path instead
    )
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


async def _open(broker: Broker, store: OutcomeStore | None, journal: Journal | None, health: StoreHealth) -> None:
    """Open all. Each adapter waits for its own unavailable server: the gateway starts, and reports that it is not ready."""
    await broker.open()
    try:
        for part in (store, journal):
            if part is not None:
                await part.open()
                health.saw(None)
    except StoreUnavailable as error:
        health.saw(error)


def _document(api: FastAPI, catalogue: Catalogue) -> Any:
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(add_security(add_contracts(api.openapi(), catalogue)))
        return made

    return document
