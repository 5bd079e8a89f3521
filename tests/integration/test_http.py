"""HTTP as other programs speak it: upgrades, trailers, expectations, HEAD, slashes, pipelines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.keys import line_of, new_key
from tests.integration.test_gateway import GOOD, URL, Gateway, start

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = json.dumps(GOOD).encode()
KEY = new_key()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Asks for a key, and gives it to `submit` only."""
    folder = tmp_path_factory.mktemp("http")
    keys = folder / "keys"
    keys.write_text(line_of("shop", "submit", KEY) + "\n")
    gateway = await start(folder, HEADRACE_API_KEYS=str(keys), HEADRACE_MAX_BODY="5000")
    yield gateway
    gateway.process.terminate()
    assert await asyncio.wait_for(gateway.process.wait(), 10) == 0


def post(path: str = URL, *headers: str, body: bytes = BODY, length: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"x-api-key: {KEY}", *headers]
    lines += [f"content-length: {len(body)}"] if length else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


LAST = f"GET /livez HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nconnection: close\r\n\r\n".encode()


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


async def test_a_wish_to_upgrade_is_ignored_and_the_body_read(gateway: Gateway) -> None:
    wish = ("Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", "Connection: Upgrade, HTTP2-Settings")
    assert statuses(await gateway.raw(post(URL, *wish) + post(URL, *wish) + LAST)) == [202, 202, 200]
    chunked = post(URL, *wish, "transfer-encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), length=False)
    assert statuses(await gateway.raw(chunked + LAST)) == [202, 200]
    assert statuses(await gateway.raw(post(URL, "Upgrade: websocket", "Connection: upgrade") + LAST)) == [202, 200]


async def test_an_upgrade_that_comes_in_pieces(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    data = post(URL, "Upgrade: h2c", "Connection: Upgrade")
    for at in range(0, len(data), 37):
        writer.write(data[at : at + 37])
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(LAST)
    assert statuses(await asyncio.wait_for(reader.read(), 10)) == [202, 200]
    writer.close()


async def test_what_stands_in_trailers_is_no_header(gateway: Gateway) -> None:
    """A key behind the body would be missed by a proxy that looked before, to count calls for each key."""
    chunks = b"%x\r\n%b\r\n0\r\nidempotency-key: with space\r\nx-api-key: other\r\n\r\n" % (len(BODY), BODY)
    data = post(URL, "transfer-encoding: chunked", "trailer: idempotency-key", body=chunks, length=False)
    assert statuses(await gateway.raw(data + LAST)) == [202, 200]


async def test_an_early_answer_to_an_expectation_ends_the_connection(gateway: Gateway) -> None:
    """Its client sends no body then: what came next would be taken for it."""
    head = post("/v1/jobs/nothing.known", "expect: 100-continue")[: -len(BODY)]
    answer = await gateway.raw(head + LAST)
    assert statuses(answer) == [404]
    assert b"connection: close" in answer.lower()


async def test_an_expectation_that_is_met_keeps_the_connection(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(2):
        writer.write(post(URL, "expect: 100-continue")[: -len(BODY)])
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 202 ")
        assert b"connection: close" not in head
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()


async def test_answers_come_in_order_also_when_a_request_behind_is_none(gateway: Gateway) -> None:
    assert statuses(await gateway.raw(post() + b"JUNK\r\n\r\n")) == [202, 400]
    assert statuses(await gateway.raw(post() + post() + b"\x00\x01\x02\r\n\r\n")) == [202, 202, 400]
    broken = post(URL, "transfer-encoding: chunked", body=b"zz\r\n", length=False)
    assert statuses(await gateway.raw(post() + broken)) == [202, 400]


async def test_head_is_the_head_of_a_get(gateway: Gateway) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/asyncapi.json"):
        status, headers, body = await gateway.ask("HEAD", path)
        assert (status, body) == (200, b""), path
        assert int(headers["content-length"]) > 0
    assert (await gateway.ask("HEAD", "/v1/dead-letters"))[0] == 401
    assert (await gateway.ask("HEAD", "/v1/dead-letters", headers={"x-api-key": KEY}))[0] == 403


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/v1/jobs/user.registered/", "not-found", "without the slash at its end, /v1/jobs/user.registered, there is"),
        ("/v1/jobs/user%2Fregistered", "unknown-job-type", "'user/registered'"),
        ("/v1/jobs/user.registered%2F", "unknown-job-type", "'user.registered/'"),
        ("/v1/jobs/a/b", "not-found", "nothing at this path"),
    ],
)
async def test_a_slash_too_many_is_a_404_to_whoever_has_a_key(gateway: Gateway, path: str, kind: str, said: str) -> None:
    answer = await gateway.raw(post(path, "connection: close"))
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (statuses(answer), problem["type"]) == ([404], f"/problems/{kind}")
    assert said in problem["detail"]
    nobody = post(path, "connection: close").replace(KEY.encode(), b"hr_unknown")
    assert statuses(await gateway.raw(nobody)) == [401]


@pytest.mark.parametrize("path", ["/v1/dead-letters/replay", "/v1/dead-letters/x/replay", "/v1/nothing"])
async def test_every_route_bounds_its_body(gateway: Gateway, path: str) -> None:
    """Also before the body came; without a key nothing is read at all."""
    operator = new_key()
    keys = gateway.folder / "keys"
    keys.write_text(line_of("shop", "submit", KEY) + "\n" + line_of("boss", "operate", operator) + "\n")
    head = post(path, body=b"", length=False).replace(KEY.encode(), operator.encode())[:-2]
    async with asyncio.timeout(20):
        while statuses(await gateway.raw(head + b"content-length: 300000000\r\n\r\n")) != [413]:
            await asyncio.sleep(0.2)  # the keys are read again every two seconds
    chunked = head + b"transfer-encoding: chunked\r\n\r\n1770\r\n" + b" " * 6000 + b"\r\n"
    assert statuses(await gateway.raw(chunked)) == [413]
    assert statuses(await gateway.raw(post(path, body=b"", length=False)[:-2] + b"content-length: 300000000\r\n\r\n")) == [403]
