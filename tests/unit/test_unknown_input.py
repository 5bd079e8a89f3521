"""Parameters that a route does not ask for, or gets twice, are refused: for every route that there is, also tomorrow's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Query

from service.app import Gateway
from tests.unit.test_scopes import gateway, routes_of

PAYLOAD = b'{"user_id": 42, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}'
JSON = (b"content-type", b"application/json")
Answer = tuple[int, Any]


async def ask(
    app: Gateway, method: str, path: str, query: str = "", body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Answer:
    """Status and document. The app's parts are not open: a request that is not refused before they are asked is a 5xx."""
    sent: list[Any] = []
    lines = [*headers, (b"content-length", b"%d" % len(body))]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": lines}
    scope |= {"query_string": query.encode(), "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": ""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in sent[1:])
    try:
        return sent[0]["status"], json.loads(text)
    except ValueError:
        return sent[0]["status"], {"text": text}


async def operations(app: Gateway) -> list[tuple[str, str, dict[str, Any]]]:
    """Of each route its method, a path, and what the OpenAPI document says of it; {} of a route that is not in there."""
    _, document = await ask(app, "GET", "/openapi.json")
    said = {(verb.upper(), path): operation for path, verbs in document["paths"].items() for verb, operation in verbs.items()}
    hidden: Iterator[tuple[str, str]] = (route for route in routes_of(app) if route not in said)
    return [(method, re.sub(r"{\w+}", "x", path), operation) for (method, path), operation in said.items()] + [
        (method, re.sub(r"{job_type}", "user.registered", path), {}) for method, path in hidden
    ]


def body_of(operation: dict[str, Any]) -> dict[str, Any]:
    return operation.get("requestBody", {}).get("content", {}).get("application/json", {})  # type: ignore[no-any-return]  # of JSON


async def test_every_route_refuses_an_unknown_query_parameter_and_says_what_is_allowed() -> None:
    app = gateway()
    every = await operations(app)
    assert len(every) > 14
    for method, path, operation in every:
        names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
        body = b'{"queue": "email"}' if body_of(operation) else b""
        for query in ("quue=email", "quue", "x=1&quue=&x=2", "quue=1&" + "&".join(f"{name}=1" for name in names)):
            status, problem = await ask(app, method, path, query, body, (JSON,))
            unknown = "x" if query.startswith("x") else "quue"
            assert (status, problem["type"]) == (422, "/problems/bad-parameter"), (method, path)
            assert problem["detail"] == f"There is no query parameter '{unknown}' here; allowed: {', '.join(names) or 'none'}."
            assert problem["errors"][0]["pointer"] == f"/query/{unknown}"


async def test_every_query_parameter_is_taken_once_and_refused_twice() -> None:
    app, seen = gateway(), 0
    for method, path, operation in await operations(app):
        for name in (p["name"] for p in operation.get("parameters", []) if p["in"] == "query"):
            seen += 1
            once = (await ask(app, method, path, f"{name}=1"))[1]
            assert once["type"] != "/problems/bad-parameter", name
            status, problem = await ask(app, method, path, f"{name}=1&{name}=1")
            assert (status, problem["detail"]) == (422, f"The query parameter {name!r} stands 2 times; give it once.")
    assert seen > 4


async def test_every_body_refuses_an_unknown_field_and_a_key_that_stands_twice() -> None:
    """But the payload of a job, which is its contract's."""
    app, seen = gateway(), 0
    _, document = await ask(app, "GET", "/openapi.json")
    for method, path, operation in await operations(app):
        if not body_of(operation) or path.startswith("/v1/jobs/"):
            continue
        seen += 1
        schema = document["components"]["schemas"][body_of(operation)["schema"]["$ref"].rpartition("/")[2]]
        assert schema["additionalProperties"] is False, (method, path)
        status, problem = await ask(app, method, path, body=b'{"quue": "email", "job_type": "user.registered"}', headers=(JSON,))
        allowed = ", ".join(schema["properties"])
        assert (status, problem["type"]) == (422, "/problems/bad-parameter")
        assert problem["detail"] == f"/body/quue: There is no such field here; allowed: {allowed}."
        status, problem = await ask(app, method, path, body=b'{"queue": "email", "queue": "points"}', headers=(JSON,))
        assert (status, problem["type"]) == (400, "/problems/malformed-body")
        assert "queue" in problem["detail"]
    assert seen


async def test_a_route_of_ones_own_is_covered_without_a_word() -> None:
    app = gateway()

    @app.api.get("/v1/own")
    async def own(tag: Annotated[list[str] | None, Query()] = None, at: Annotated[str, Query(alias="from")] = "") -> Any:
        return [tag, at]

    assert await ask(app, "GET", "/v1/own", "tag=a&tag=b&from=c") == (200, [["a", "b"], "c"])
    assert (await ask(app, "GET", "/v1/own", "from=c&from=d"))[0] == 422
    status, problem = await ask(app, "GET", "/v1/own", "at=c")
    assert status == 422
    assert set(problem["detail"].rpartition("allowed: ")[2].rstrip(".").split(", ")) == {"tag", "from"}


@pytest.mark.parametrize("name", ["Idempotency-Key", "Content-Type", "Content-Length", "Authorization", "X-API-Key", "Host"])
@pytest.mark.parametrize("same", [True, False])
async def test_a_header_that_may_stand_once_and_stands_twice_is_refused(name: str, same: bool) -> None:
    line = (name.lower().encode(), b"application/json")
    twice = (line, line if same else (line[0], b"application/x+json"))
    app = gateway()
    for path in ("/v1/jobs/user.registered", "/v1/dead-letters/replay"):
        status, problem = await ask(app, "POST", path, body=PAYLOAD, headers=(twice[:1] if name == "Content-Length" else twice))
        assert (status, problem["type"]) == (400, "/problems/bad-header")
        assert problem["detail"] == f"{name} stands 2 times in the request; send it once."
