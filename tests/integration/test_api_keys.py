"""The gateway with API keys, as its own process on the embedded system, and the command line against it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openapi_spec_validator
import pytest

from service.keys import line_of, new_key
from tests.integration.command_line import fed
from tests.servers import free_port

GOOD = {"user_id": 42, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}
SUBMIT = "/v1/jobs/user.registered"
SOME_JOB = "/v1/jobs/01a20c57-040c-7584-a42e-6f91a24065d8"
OPEN = ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/asyncapi.json")


@dataclass
class Gateway:
    port: int
    file: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, method: str, path: str, key: str = "", **more: Any) -> tuple[int, Any, Any]:
        """Status, headers, and the body: JSON where it is."""
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        async with aiohttp.ClientSession(self.url) as client, client.request(method, path, headers=headers, **more) as answer:
            text = await answer.read()
            return answer.status, answer.headers, json.loads(text) if "json" in answer.headers.get("content-type", "") else text

    async def until(self, status: int, key: str) -> None:
        """Wait until the gateway has read its file again: a job that is not there answers `status`."""
        async with asyncio.timeout(20):
            while (await self.ask("GET", SOME_JOB, key))[0] != status:
                await asyncio.sleep(0.05)

    async def until_logged(self, text: str) -> None:
        async with asyncio.timeout(20):
            while text not in self.log.read_text():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running(folder: Path, keys: str, **settings: str) -> AsyncIterator[Gateway]:
    port, database, file = free_port(), f"sqlite:///{folder}/headrace.db", folder / "keys"
    file.write_text(keys)
    environment = os.environ | {"HEADRACE_BROKER": database, "HEADRACE_OUTCOMES": database, "HEADRACE_PORT": str(port)}
    environment |= {"HEADRACE_API_KEYS": str(file), "HEADRACE_LOG_FORMAT": "json"} | settings
    gateway = Gateway(port, file, folder / "log")
    with gateway.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "service", env=environment, stderr=log)
    async with asyncio.timeout(20):
        while True:
            try:
                if (await gateway.ask("GET", "/readyz"))[0] == 200:
                    break
            except aiohttp.ClientError:
                assert process.returncode is None
                await asyncio.sleep(0.02)
    yield gateway
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def refused_to_start(**settings: str) -> str:
    """Its error output, after it ended with exit code 2."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", env=os.environ | settings, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    return err.decode()


async def test_each_request_needs_its_scope_and_what_is_open_needs_none(tmp_path: Path) -> None:
    submit, read, operate = (new_key() for _ in range(3))
    lines = [line_of("ci", "submit", submit), line_of("eye", "read", read), line_of("ops", "operate", operate)]
    async with running(tmp_path, "\n".join(lines)) as gateway:
        for path in OPEN:
            assert (await gateway.ask("GET", path))[0] == 200, path
        status, headers, problem = await gateway.ask("POST", SUBMIT, json=GOOD)
        assert (status, headers["content-type"]) == (401, "application/problem+json")
        assert headers["WWW-Authenticate"] == 'Bearer realm="headrace"'
        assert (problem["type"], problem["status"], problem["instance"]) == ("/problems/unauthorized", 401, SUBMIT)
        assert (await gateway.ask("POST", SUBMIT, new_key(), json=GOOD))[0] == 401
        status, headers, problem = await gateway.ask("POST", SUBMIT, read, json=GOOD)
        assert (status, problem["type"], problem["scope"]) == (403, "/problems/forbidden", "submit")
        assert 'error="insufficient_scope", scope="submit"' in headers["WWW-Authenticate"]
        status, headers, _ = await gateway.ask("POST", SUBMIT, submit, json=GOOD)
        assert status == 202
        job = headers["Location"]
        assert (await gateway.ask("GET", job, submit))[0] == 403
        assert (await gateway.ask("GET", job, read))[0] == 200
        assert (await gateway.ask("GET", job, headers={"X-API-Key": read}))[0] == 200
        for method, path in (
            ("POST", "/v1/dead-letters/replay"),
            ("POST", "/v1/dead-letters/x/replay"),
            ("DELETE", "/v1/dead-letters/x"),
            ("PUT", "/v1/scaling/email"),
            ("POST", "/nowhere"),
        ):
            statuses = [(await gateway.ask(method, path, key))[0] for key in ("", read, operate)]
            assert statuses[:2] == [401, 403], (method, path)
            assert statuses[2] in (404, 405, 422), (method, path)
        for path in ("/v1/dead-letters", "/v1/scaling", "/nowhere"):
            assert [(await gateway.ask("GET", path, key))[0] for key in ("", operate)] == [401, 403], path
        assert (await gateway.ask("POST", "/v1/jobs/no.such.type", json={}))[0] == 401, "nor is told what there is"
        _, _, document = await gateway.ask("GET", "/openapi.json")
        openapi_spec_validator.validate(document)
        assert document["paths"][SUBMIT]["post"]["security"] == [{"bearer": ["submit"]}, {"header": ["submit"]}]
        _, _, figures = await gateway.ask("GET", "/metrics")
        for reason in ("missing", "unknown", "scope"):
            assert f'headrace_requests_refused_total{{reason="{reason}"}}'.encode() in figures
    log = gateway.log.read_text()
    assert not [key for key in (submit, read, operate) if key in log]


async def test_the_idempotency_key_is_the_callers_own(tmp_path: Path) -> None:
    one, again, other = (new_key() for _ in range(3))
    lines = [line_of("one", "submit", one), line_of("one", "submit,read", again), line_of("two", "submit", other)]
    async with running(tmp_path, "\n".join(lines)) as gateway:
        name = {"Idempotency-Key": str(uuid.uuid4())}
        jobs = [(await gateway.ask("POST", SUBMIT, key, json=GOOD, headers=name))[2]["job_id"] for key in (one, again, other)]
    assert jobs[0] == jobs[1], "another key of the same caller"
    assert jobs[0] != jobs[2]


async def test_keys_are_replaced_without_a_restart_and_a_mistake_locks_nobody_out(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    async with running(tmp_path, line_of("ci", "read", old)) as gateway:
        await gateway.until(404, old)
        assert (await gateway.ask("GET", SOME_JOB, new))[0] == 401
        gateway.file.write_text(f"{line_of('ci', 'read', old)}\n{line_of('ci', 'read', new)}\n")
        await gateway.until(404, new)
        assert (await gateway.ask("GET", SOME_JOB, old))[0] == 404, "both, for as long as both are there"
        gateway.file.write_text(f"ci read {new}\n")
        await gateway.until_logged("those read before stay valid")
        assert [(await gateway.ask("GET", SOME_JOB, key))[0] for key in (old, new)] == [404, 404]
        assert b"headrace_api_keys_stale 1.0" in (await gateway.ask("GET", "/metrics"))[2]
        gateway.file.write_text(line_of("ci", "read", new))
        await gateway.until(401, old)
        assert (await gateway.ask("GET", SOME_JOB, new))[0] == 404
        assert b"headrace_api_keys_stale 0.0" in (await gateway.ask("GET", "/metrics"))[2]
    log = gateway.log.read_text()
    assert "line 1: the third word" in log
    assert new not in log


async def test_a_refused_body_is_not_read_and_the_connection_is_used_again_or_closed(tmp_path: Path) -> None:
    key = new_key()
    async with running(tmp_path, line_of("ci", "submit,read", key), HEADRACE_MAX_BODY="10000000") as gateway:
        for path in (SUBMIT, "/v1/dead-letters/replay"):
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            # Short, and sent after the answer: skipped, and then the next request is answered.
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(f"{head}content-length: 30\r\n\r\n".encode())
            answer = await asyncio.wait_for(_answer(reader), 10)
            assert answer[0].startswith(b"HTTP/1.1 401"), path
            writer.write(b"GET /not-a-request HTTP/1.1\r\n\r\n"[:30].ljust(30) + f"GET {SOME_JOB} HTTP/1.1\r\n".encode())
            writer.write(f"host: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
            assert (await asyncio.wait_for(_answer(reader), 10))[0].startswith(b"HTTP/1.1 404")
            writer.close()
            # Long, or of unknown length: answered at once, and closed.
            for length in ("content-length: 9999999", "transfer-encoding: chunked", "content-length: 9\r\nexpect: 100-continue"):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(f"{head}{length}\r\n\r\n".encode())
                whole = await asyncio.wait_for(reader.read(), 10)
                assert whole.startswith(b"HTTP/1.1 401"), (path, length)
                assert b"connection: close" in whole.lower()
                assert b"100 Continue" not in whole
                writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head, await reader.readexactly(length)


async def test_open_on_loopback_and_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, "", HEADRACE_API_KEYS="") as gateway:
        assert (await gateway.ask("POST", SUBMIT, json=GOOD))[0] == 202
        assert (await gateway.ask("POST", SUBMIT, "any word", json=GOOD))[0] == 202
    assert gateway.log.read_text().count("open: no API key is asked for") == 1


async def test_an_empty_file_lets_nobody_in_and_warns(tmp_path: Path) -> None:
    async with running(tmp_path, "# none yet\n") as gateway:
        assert (await gateway.ask("GET", SOME_JOB, new_key()))[0] == 401
    assert "there is no API key" in gateway.log.read_text()


async def test_no_start_where_others_come_and_nothing_is_said(tmp_path: Path) -> None:
    settings = {"HEADRACE_BROKER": "memory:", "HEADRACE_OUTCOMES": "memory:", "HEADRACE_PORT": str(free_port())}
    said = await refused_to_start(HEADRACE_HOST="0.0.0.0", HEADRACE_API_KEYS="", **settings)  # noqa: S104 - what is refused
    assert all(part in said for part in ("HEADRACE_API_KEYS", "HEADRACE_HOST=0.0.0.0", "headrace key new", "=open"))
    said = await refused_to_start(HEADRACE_API_KEYS=str(tmp_path / "none"), **settings)
    assert "No such file" in said
    (tmp_path / "keys").write_text("ci everything sha256:00")
    assert "keys, line 1" in await refused_to_start(HEADRACE_API_KEYS=str(tmp_path), **settings)
    async with running(tmp_path, "", HEADRACE_HOST="0.0.0.0", HEADRACE_API_KEYS="open") as gateway:  # noqa: S104 - open on purpose
        assert (await gateway.ask("POST", SUBMIT, json=GOOD))[0] == 202


async def cli(*arguments: str, stdin: str = "", **environment: str) -> tuple[int, str, str]:
    """As `run`, with standard error on one line: its output is wrapped."""
    code, out, err = await fed(stdin.encode(), *arguments, **environment)
    return code, out, " ".join(err.split())


async def test_the_command_line_makes_keys() -> None:
    code, out, _ = await cli("key", "new", "--name", "ci", "--scopes", "submit,read", "--json")
    made = json.loads(out)
    assert code == 0
    assert made["line"] == line_of("ci", "submit,read", made["key"])
    code, out, _ = await cli("key", "new", "--name", "ci", "--scopes", "read")
    key, line = (text.strip() for text in out.splitlines() if text.startswith("  "))
    assert line == line_of("ci", "read", key)
    for given in (key, key + "\n"):
        assert (await cli("key", "hash", "--name", "ci", "--scopes", "read", stdin=given))[:2] == (0, line + "\n")
    code, out, err = await cli("key", "hash", "--name", "ci", "--scopes", "read", stdin="hunter2")
    assert (code, out, "headrace key new" in err, "hunter2" in err) == (2, "", True, False)
    code, _, err = await cli("key", "new", "--name", "ci", "--scopes", "all")
    assert (code, "submit, read, operate" in err) == (2, True)


@pytest.mark.timeout(240)
async def test_the_command_line_shows_its_key(tmp_path: Path) -> None:
    submit, read = new_key(), new_key()
    note, users = tmp_path / "note", tmp_path / "users.ndjson"
    note.write_text(read + "\n")
    users.write_text(json.dumps(GOOD) + "\n")
    async with running(tmp_path, f"{line_of('ci', 'submit', submit)}\n{line_of('eye', 'read', read)}") as gateway:
        url, nobody = ("--url", gateway.url), {"HEADRACE_API_KEY": ""}
        code, _, err = await cli("dead", "list", *url, **nobody)
        assert (code, "HEADRACE_API_KEY" in err, "--api-key-file" in err) == (2, True, True)
        code, out, _ = await cli("dead", "list", "--json", *url, HEADRACE_API_KEY=read)
        assert (code, json.loads(out)["items"]) == (0, [])
        assert (await cli("dead", "list", *url, "--api-key-file", str(note), HEADRACE_API_KEY=submit))[0] == 0
        code, _, err = await cli("dead", "drop", "x", *url, HEADRACE_API_KEY=read)
        assert (code, "'operate'" in err, read in err) == (2, True, False)
        code, _, err = await cli("status", "x", *url, HEADRACE_API_KEY=new_key())
        assert (code, "does not know the API key of HEADRACE_API_KEY" in err) == (2, True)
        code, _, err = await cli("submit", "user.registered", str(users), *url, HEADRACE_API_KEY=submit)
        assert (code, "1 accepted" in err) == (0, True)
        code, _, err = await cli("submit", "user.registered", str(users), *url, HEADRACE_API_KEY=read)
        assert (code, "'submit'" in err) == (2, True), "once, not once a line"
        for bad in ("two words", "\u00fc"):
            note.write_text(bad)
            code, _, err = await cli("status", "x", *url, "--api-key-file", str(note))
            assert (code, "not an API key" in err, bad in err) == (2, True, False)
        code, _, err = await cli("status", "x", *url, "--api-key-file", str(tmp_path / "none"))
        assert (code, "No such file" in err) == (2, True)
