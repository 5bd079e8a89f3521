"""Every route of the gateway has a scope: a new one fails here until it is written down."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.routing import Route

from adapters.sqlite import SqliteBroker
from core import project
from core.clock import SystemClock
from service.app import Gateway, build
from service.guard import needed
from service.settings import GatewaySettings

SCOPES = {
    ("POST", "/v1/jobs/{job_type}"): "submit",
    ("GET", "/v1/jobs/{job_id}"): "read",
    ("GET", "/v1/dead-letters"): "read",
    ("GET", "/v1/dead-letters/{dead_id}"): "read",
    ("POST", "/v1/dead-letters/replay"): "operate",
    ("POST", "/v1/dead-letters/{dead_id}/replay"): "operate",
    ("DELETE", "/v1/dead-letters/{dead_id}"): "operate",
    ("GET", "/v1/scaling"): "read",
    ("GET", "/v1/scaling/{queue}"): "read",
    ("GET", "/livez"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
    ("GET", "/docs"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/asyncapi.json"): None,
}


def gateway() -> Gateway:
    catalogue, settings, clock = project.catalogue(), GatewaySettings(), SystemClock()
    return build(settings, catalogue, SqliteBroker(":memory:", catalogue.topology(), settings, clock), None, None, clock, None)


def routes_of(app: Gateway) -> Iterator[tuple[str, str]]:
    waiting = list(app.api.router.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if inner:
            prefix = getattr(getattr(route, "include_context", None), "prefix", "")
            assert not prefix, "a prefix would have to be put before its paths here"
            waiting += inner
            continue
        for method in route.methods - {"HEAD"}:  # type: ignore[attr-defined]  # a route of HTTP
            yield method, route.path  # type: ignore[attr-defined]  # as above


def test_every_route_has_the_scope_that_is_written_here() -> None:
    assert {(method, path): needed(method, path) for method, path in routes_of(gateway())} == SCOPES


def test_the_document_says_the_same() -> None:
    app = gateway()
    (endpoint,) = [route.endpoint for route in app.api.routes if isinstance(route, Route) and route.path == "/openapi.json"]
    for path, verbs in endpoint()["paths"].items():
        for verb, operation in verbs.items():
            scope = needed(verb.upper(), path)
            assert operation["security"] == [{"bearer": [scope]}, {"header": [scope]}], (verb, path)
            assert {"401", "403"} <= operation["responses"].keys()


def test_a_path_that_nobody_knows_is_never_open() -> None:
    for path in ("/", "/livez/", "/Livez", "//livez", "/docs/x", "/metrics/..", "/v2/anything", ""):
        assert needed("GET", path) == needed("HEAD", path) == "read"
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "ANY"):
            assert needed(method, path) == "operate"
    assert needed("POST", "/v1/jobs/a/b") == "operate"
    assert needed("PUT", "/v1/jobs/a") == "operate"
