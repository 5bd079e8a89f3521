"""The gateway as its own process on the embedded system: real requests, bad ones above all."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openapi_spec_validator
import pytest
import pytest_asyncio
from jsonschema import Draft7Validator, Draft202012Validator

from core import project
from tests.servers import free_port

GOOD = {"user_id": 42, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}
URL = "/v1/jobs/user.registered"
ASYNCAPI = json.loads((Path(__file__).parents[1] / "schemas/asyncapi-3.0.0.json").read_text())


@dataclass
class Gateway:
    port: int
    process: asyncio.subprocess.Process
    folder: Path

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        """Status, headers, and the body: JSON where it is."""
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as client, client.request(method, path, **more) as answer:
            text = await answer.read()
            return (
                answer.status,
                answer.headers,
                json.loads(text) if text and "json" in answer.headers.get("content-type", "") else text,
            )

    async def submit(self, body: bytes, **headers: str) -> tuple[int, Any, Any]:
        return await self.ask("POST", URL, data=body, headers={"content-type": "application/json"} | headers)

    async def raw(self, data: bytes, *, rest: bytes = b"") -> bytes:
        """Send bytes, and read until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if rest:
            writer.write(rest)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    gateway = await start(folder, HEADRACE_MAX_BODY="5000", HEADRACE_BODY_TIMEOUT="0.5", HEADRACE_HEAD_TIMEOUT="0.5")
    yield gateway
    gateway.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(gateway.process.wait(), 10) == 0


async def start(folder: Path, **settings: str) -> Gateway:
    port, database = free_port(), f"sqlite:///{folder}/headrace.db"
    environment = os.environ | {"HEADRACE_BROKER": database, "HEADRACE_OUTCOMES": database, "HEADRACE_PORT": str(port)} | settings
    gateway = Gateway(port, await asyncio.create_subprocess_exec(sys.executable, "-m", "service", env=environment), folder)
    async with asyncio.timeout(15):
        while True:
            try:
                if (await gateway.ask("GET", "/readyz"))[0] == 200:
                    return gateway
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_accepted_with_a_location_that_can_be_followed(gateway: Gateway) -> None:
    status, headers, body = await gateway.submit(json.dumps(GOOD).encode())
    assert status == 202
    assert uuid.UUID(body["job_id"]).version == 7
    assert [d["queue"] for d in body["deliveries"]] == ["email", "points"]
    status, _, job = await gateway.ask("GET", headers["Location"])
    assert (status, [d["state"] for d in job["deliveries"]]) == (200, ["queued", "queued"])


async def test_the_same_key_is_the_same_job(gateway: Gateway) -> None:
    ids = {(await gateway.submit(json.dumps(GOOD).encode(), **{"Idempotency-Key": key}))[2]["job_id"] for key in ('"k-1"', "k-1")}
    assert len(ids) == 1
    assert uuid.UUID(ids.pop()).version == 8


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "malformed-body", 400),
        (b"{", "malformed-body", 400),
        (b"[1]", "malformed-body", 400),
        (b'"text"', "malformed-body", 400),
        (b'{"user_id": 1, "user_id": 2}', "malformed-body", 400),
        (b'{"user_id": NaN}', "malformed-body", 400),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "malformed-body", 400),
        (b'{"name": "\xff"}', "malformed-body", 400),
        (b"{}", "invalid-payload", 422),
        (json.dumps(GOOD | {"user_id": "x", "email": "nobody"}).encode(), "invalid-payload", 422),
        (b" " * 6000, "too-large", 413),
    ],
)
async def test_a_bad_body_is_a_problem(gateway: Gateway, body: bytes, kind: str, status: int) -> None:
    got, headers, problem = await gateway.submit(body)
    assert (got, problem["type"], problem["status"]) == (status, f"/problems/{kind}", status)
    assert headers["content-type"] == "application/problem+json"


async def test_each_wrong_field_has_its_pointer(gateway: Gateway) -> None:
    _, _, problem = await gateway.submit(json.dumps(GOOD | {"user_id": -1, "email": "nobody"}).encode())
    assert [e["pointer"] for e in problem["errors"]] == ["/user_id", "/email"]


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/nothing", "not-found"),
        ("PUT", URL, "method-not-allowed"),
        ("GET", "/v1/jobs/not-a-uuid", "bad-parameter"),
        ("GET", "/v1/jobs/01a20c57-040c-7584-a42e-6f91a24065d8", "not-found"),
        ("GET", "/v1/dead-letters?limit=0", "bad-parameter"),
        ("GET", "/v1/dead-letters?cursor=x", "bad-parameter"),
        ("GET", "/v1/dead-letters/none", "not-found"),
        ("DELETE", "/v1/dead-letters/none", "not-found"),
        ("POST", "/v1/dead-letters/none/replay", "not-found"),
    ],
)
async def test_every_error_is_a_problem(gateway: Gateway, method: str, path: str, kind: str) -> None:
    status, headers, problem = await gateway.ask(method, path)
    assert (problem["type"], problem["status"]) == (f"/problems/{kind}", status)
    assert headers["content-type"] == "application/problem+json"


async def test_an_unknown_job_type_lists_names_that_are_near(gateway: Gateway) -> None:
    status, _, problem = await gateway.ask("POST", "/v1/jobs/user.registerd", json=GOOD)
    assert (status, problem["near"]) == (404, ["user.registered"])


async def test_another_content_type_is_refused(gateway: Gateway) -> None:
    status, _, problem = await gateway.ask("POST", URL, data=b"{}", headers={"content-type": "text/plain"})
    assert (status, problem["type"]) == (415, "/problems/unsupported-media-type")


async def test_a_bad_key_is_refused(gateway: Gateway) -> None:
    status, _, problem = await gateway.submit(json.dumps(GOOD).encode(), **{"Idempotency-Key": "with space"})
    assert (status, problem["type"]) == (400, "/problems/bad-header")


async def test_a_long_body_is_refused_before_it_is_sent(gateway: Gateway) -> None:
    head = f"POST {URL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 999999\r\n\r\n"
    assert b"413" in (await gateway.raw(head.encode())).split(b"\r\n")[0]


async def test_a_long_body_without_a_length_is_cut_off(gateway: Gateway) -> None:
    head = f"POST {URL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    assert b"413" in (await gateway.raw(head.encode(), rest=b"1770\r\n" + b" " * 6000 + b"\r\n")).split(b"\r\n")[0]


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"])
async def test_what_is_not_http_is_a_problem_too(gateway: Gateway, junk: bytes) -> None:
    head, _, body = (await gateway.raw(junk)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "/problems/bad-request"


async def test_a_slow_body_times_out(gateway: Gateway) -> None:
    head = f"POST {URL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    assert b"408" in (await gateway.raw(head.encode(), rest=b'{"user')).split(b"\r\n")[0]


async def test_a_slow_head_times_out(gateway: Gateway) -> None:
    assert b"408" in (await gateway.raw(b"POST / HTTP/1.1\r\nhost:")).split(b"\r\n")[0]


async def test_a_long_head_is_refused(gateway: Gateway) -> None:
    assert (
        b"431" in (await gateway.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 20_000 + b"\r\n\r\n")).split(b"\r\n")[0]
    )


async def test_a_client_that_goes_away_leaves_a_whole_job_or_none(gateway: Gateway) -> None:
    body = json.dumps(GOOD).encode()
    key = f"gone-{uuid.uuid4()}"
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST {URL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.transport.abort()
    status, headers, _ = await gateway.submit(body, **{"Idempotency-Key": key})
    assert status == 202
    _, _, job = await gateway.ask("GET", headers["Location"])
    assert len(job["deliveries"]) == 2


async def test_the_documents_describe_every_contract(gateway: Gateway) -> None:
    _, _, openapi = await gateway.ask("GET", "/openapi.json")
    catalogue = project.catalogue()
    for name in (contract.name for contract in catalogue):
        content = openapi["paths"][f"/v1/jobs/{name}"]["post"]["requestBody"]["content"]["application/json"]
        schema = openapi["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        for example in content.get("examples", {}).values():
            Draft202012Validator(schema).validate(example["value"])
    openapi_spec_validator.validate(openapi)
    _, _, asyncapi = await gateway.ask("GET", "/asyncapi.json")
    Draft7Validator(ASYNCAPI).validate(asyncapi)
    assert set(asyncapi["channels"]) == set(catalogue.topology().queues)
    status, _, page = await gateway.ask("GET", "/docs")
    assert status == 200
    assert b"user.registered" in page
    assert b"//cdn" not in page


async def test_metrics_and_probes_answer(gateway: Gateway) -> None:
    assert (await gateway.ask("GET", "/livez"))[0] == 200
    _, _, text = await gateway.ask("GET", "/metrics")
    assert b"headrace_jobs_accepted_total" in text


async def test_a_dead_letter_is_shown_replayed_and_dropped(tmp_path: Path) -> None:
    from adapters.sqlite import SqliteOutcomes
    from core.clock import SystemClock
    from core.model import Reason
    from core.ports import DeadLetter
    from core.settings import Settings

    gateway = await start(tmp_path)
    store = SqliteOutcomes(str(tmp_path / "headrace.db"), Settings(), SystemClock())
    await store.open()
    await store.bury([DeadLetter("d1", "email", Reason.MALFORMED, 1.75e9, {"stray": "1"}, b"\xffjunk")])
    await store.close()
    _, _, page = await gateway.ask("GET", "/v1/dead-letters?queue=email")
    assert [item["dead_id"] for item in page["items"]] == ["d1"]
    _, _, letter = await gateway.ask("GET", "/v1/dead-letters/d1")
    assert (base64.b64decode(letter["payload_base64"]), letter["headers"], letter["reason"]) == (
        b"\xffjunk",
        {"stray": "1"},
        "malformed-message",
    )
    assert (await gateway.ask("POST", "/v1/dead-letters/replay", json={}))[0] == 422
    for other in ({"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain"}):  # curl -d has the first
        status, _, problem = await gateway.ask("POST", "/v1/dead-letters/replay", data=b'{"queue": "email"}', headers=other)
        assert status == 422
        assert problem["detail"] == f"/body: Send it with content-type: application/json, not {other['content-type']!r}"
    status, _, done = await gateway.ask("POST", "/v1/dead-letters/replay", json={"queue": "email"})
    assert (status, done) == (200, {"replayed": 1, "failed": 0, "more": False, "failures": []})
    assert (await gateway.ask("GET", "/v1/dead-letters/d1"))[2]["replayed_at"] is not None
    assert (await gateway.ask("POST", "/v1/dead-letters/d1/replay"))[0] == 202
    assert (await gateway.ask("DELETE", "/v1/dead-letters/d1"))[0] == 204
    assert (await gateway.ask("DELETE", "/v1/dead-letters/d1"))[0] == 404
    gateway.process.terminate()
    assert await asyncio.wait_for(gateway.process.wait(), 10) == 0


async def test_a_bad_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    environment = os.environ | {"HEADRACE_PUBLISH_TIMEOUT": "soon", "HEADRACE_BROKER": "ftp://user:secret@host/"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "service", env=environment, stderr=asyncio.subprocess.PIPE)
    _, err = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 2
    assert b"HEADRACE_PUBLISH_TIMEOUT='soon'" in err
    assert b"HEADRACE_BROKER=(hidden)" in err
    assert b"allowed: sqlite" in err
    assert b"secret" not in err


async def test_it_lingers_after_sigterm_and_tells_connections_to_close(tmp_path: Path) -> None:
    gateway = await start(tmp_path, HEADRACE_LINGER_SECONDS="3")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as session:
        before = await session.post(URL, json=GOOD)
        await before.read()
        assert (before.status, before.headers.get("Connection")) == (202, None)
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while (await session.get("/readyz")).status != 503:
                await asyncio.sleep(0.01)
        for _ in range(2):  # the kept connection, and one made after it
            after = await session.post(URL, json=GOOD)
            await after.read()
            assert (after.status, after.headers["Connection"]) == (202, "close")
    assert await asyncio.wait_for(gateway.process.wait(), 20) == 0
