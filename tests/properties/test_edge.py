"""For any bytes: never a hang, never a 500, answers in order, and the next connection is served."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.servers import free_port

BODY = b'{"user_id": 42, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}'
HEAD = b"POST /v1/jobs/user.registered HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
GOOD = HEAD + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
LAST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
# 501 is the answer where nothing is stored, 503 where something is unavailable.
MISTAKES = (500, 502, 504, 505)


class Server:
    def __init__(self) -> None:
        self.port = free_port()
        bounds = {"HEADRACE_HEAD_TIMEOUT": "0.2", "HEADRACE_BODY_TIMEOUT": "0.2", "HEADRACE_MAX_BODY": "2000"}
        memory = {"HEADRACE_BROKER": "memory:", "HEADRACE_OUTCOMES": "memory:", "HEADRACE_PORT": str(self.port)}
        self.process = subprocess.Popen([sys.executable, "-m", "service"], env=os.environ | bounds | memory)
        for _ in range(400):
            if self.ready():
                return
            time.sleep(0.05)
        raise RuntimeError("the gateway is not ready within 20 s")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def told(self, pieces: list[bytes]) -> bytes:
        """Send, and read until the server closes. A hang is a TimeoutError."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer = b""
            try:
                for piece in pieces:
                    connection.sendall(piece)
                while data := connection.recv(65536):
                    answer += data
            except ConnectionError:  # it has closed while we sent: what it said may be lost with that
                pass
            return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """The responses in `data`; other bytes are a mistake of the server. The last one may be cut off with its connection."""
    found = []
    while data:
        assert data.startswith(b"HTTP/1.1 "), data[:80]
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status == 100:
            continue
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        found.append((status, data[:length]))
        data = data[length:]
    return found


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda at, put, drop: data[: at % len(data)] + put + data[at % len(data) + drop :],
        st.integers(0, 10_000),
        st.binary(max_size=3),
        st.integers(0, 3),
    )


FIELDS = st.sampled_from(
    [
        b"expect: 100-continue",
        b"upgrade: h2c",
        b"connection: upgrade",
        b"connection: close",
        b"connection: keep-alive",
        b"content-length: 5",
        b"content-length: 99999999999999999999",
        b"transfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"idempotency-key: a b",
        b"idempotency-key: k",
        b"traceparent: \xff",
        b"content-type: text/\xff",
        b"x: " + b"y" * 20_000,
        b"trailer: x",
    ]
)
PATHS = st.sampled_from(
    [b"/v1/jobs/user.registered", b"/v1/jobs/%00", b"/v1/jobs/user%2Fregistered", b"/v1/jobs/%ff%fe", b"//", b"*", b"http://x/livez",
     b"/v1/dead-letters?cursor=%ff&limit=1", b"/v1/dead-letters/%ff", b"/v1/scaling/x?limit=-1", b"/v1/dead-letters/replay", b"x:1"]
)  # fmt: skip
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"DELETE", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", b"TRACE"])
REQUEST = st.builds(
    lambda method, path, fields, body: (
        b"%b %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b"
        % (method, path, b"".join(field + b"\r\n" for field in fields), len(body), body)
    ),
    METHODS,
    PATHS,
    st.lists(FIELDS, max_size=3),
    st.sampled_from([b"", BODY, b"{}", b"x" * 3000]),
)
WHOLE, IN_CHUNKS = GOOD, HEAD + CHUNKED
PART = st.one_of(
    st.just(WHOLE),
    st.just(IN_CHUNKS),
    mutated(WHOLE),
    mutated(IN_CHUNKS),
    REQUEST,
    REQUEST.flatmap(mutated),
    st.binary(max_size=60),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PART, min_size=1, max_size=4), st.lists(st.integers(1, 2000), max_size=4))
@example([HEAD + b"expect: 100-continue\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 5\r\n\r\n{}", GOOD], [])
@example([GOOD, b"CONNECT x:1 HTTP/1.1\r\n\r\n"], [])
@example([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], [])
@example([HEAD + b"connection: upgrade\r\nupgrade: h2c\r\n" + CHUNKED[:-2] + b"late: x\r\n\r\n", GOOD], [7, 300])
def test_any_bytes(server: Server, parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts) + LAST
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    said = server.told([data[begin:end] for begin, end in itertools.pairwise(edges)])
    for status, body in answers(said) if b"HEAD" not in data else []:
        assert status not in MISTAKES, body
    after = answers(server.told([GOOD, LAST]))
    assert [status for status, _ in after] == [202, 200]
    assert json.loads(after[0][1])["job_type"] == "user.registered"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), PART, st.integers(1, 4))
def test_good_requests_before_a_bad_one_have_their_answers(server: Server, before: int, part: bytes, after: int) -> None:
    """In order, before any answer to the bytes behind them; a request behind those has its right answer, or none."""
    said = server.told([GOOD * before, part, GOOD * after, LAST])
    statuses = [int(piece[:3]) for piece in said.split(b"HTTP/1.1 ")[1:]]
    assert not set(statuses) & set(MISTAKES)
    # A connection that is ended while its client still sends may lose the last answers, but nothing comes in another order.
    assert statuses[:before] == [202] * min(before, len(statuses))
