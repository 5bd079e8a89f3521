"""The program in a pod of `bench-cluster-step`: ten jobs at a time, a tenth of a second each, and a report to the controller.

It is no consumer of ours: it stands for one, so that thirty can start on two cores within seconds. It has the consumer's
prefetch (twice the concurrency), acks, drain on SIGTERM (what has not begun is handed back, what runs ends), `/readyz` and
`/figures`. It has no handlers, claims, retries, metrics or reconnecting: a "job" is a timer. Only the standard library is
imported, and AMQP is read by hand: it starts with less than 0.1 s of CPU, where the consumer's imports alone take 0.5 s.

When it ends it publishes what it saw to the queue STEP_RESULTS, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import time
from collections import deque
from datetime import datetime
from urllib.parse import unquote, urlsplit

QUEUE = os.environ.get("STEP_QUEUE", "payouts")
CONCURRENCY = int(os.environ.get("STEP_CONCURRENCY", "10"))
SECONDS = float(os.environ.get("STEP_SECONDS", "0.1"))
RESULTS = os.environ.get("STEP_RESULTS", "step.results")
PORT = int(os.environ.get("STEP_PORT", "8081"))
RECENT = 30.0  # seconds, as core/figures.py says

_FRAME = struct.Struct(">BHI")
_METHOD, _HEADER, _BODY = 1, 2, 3
_TIME = b"\x10cloudEvents_timeS"
_TAG = "worker"

CLOSE, CLOSED = (10, 50), (10, 51)
CONSUMING, DELIVER, CANCELLED = (60, 21), (60, 60), (60, 31)


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, name: tuple[int, int], arguments: bytes) -> bytes:
    return frame(_METHOD, channel, struct.pack(">HH", *name) + arguments)


class Worker(asyncio.Protocol):
    """One connection, one channel, one queue. Times are wall seconds of this machine, which the publisher shares."""

    def __init__(self) -> None:
        url = urlsplit(os.environ["STEP_BROKER"])
        login = f"\0{unquote(url.username or 'guest')}\0{unquote(url.password or 'guest')}".encode()
        start_ok = struct.pack(">I", 0) + short("PLAIN") + struct.pack(">I", len(login)) + login + short("en_US")
        # Each answer of the broker, and what is sent next.
        self._next = {
            (10, 10): method(0, (10, 11), start_ok),
            (10, 30): method(0, (10, 31), struct.pack(">HIH", 1, 131_072, 0))
            + method(0, (10, 40), short(unquote(url.path[1:]) or "/") + b"\0\0"),
            (10, 41): method(1, (20, 10), b"\0"),
            (20, 11): method(1, (60, 10), struct.pack(">IHB", 0, 2 * CONCURRENCY, 0)),
            (60, 11): method(1, (60, 20), b"\0\0" + short(QUEUE) + short(_TAG) + b"\0" + struct.pack(">I", 0)),
        }
        self._unread = b""
        self._delivery = (0, False)
        self._waiting: deque[tuple[int, float]] = deque()
        self._settling: list[bytes] = []
        self._recent: deque[tuple[float, float, float]] = deque()
        self._draining = False
        self.running = 0
        self._busy, self._begun = 0.0, 0.0  # seconds of what has ended; the sum of the beginnings of what runs
        self.idle = asyncio.Event()
        self.cancelled, self.closed = asyncio.Event(), asyncio.Event()
        self.ready = False
        self.pod = os.environ.get("HOSTNAME", "")
        self.seen = {"started": time.time(), "ready": 0.0, "first": 0.0}
        self.seen |= {"settled": 0, "redelivered": 0, "handed_back": 0, "wait_sum": 0.0}
        self.waits: dict[int, int] = {}  # jobs by tenths of a second waited

    # ---------------------------------------------------------------------------------------------- from the broker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP
        self._transport = transport
        transport.write(b"AMQP\x00\x00\x09\x01")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.is_set():
            print(f"the connection was lost: {exc}", flush=True)
            os._exit(1)

    def data_received(self, data: bytes) -> None:
        data = self._unread + data
        at = 0
        while len(data) - at >= 8:
            kind, _, size = _FRAME.unpack_from(data, at)
            if len(data) - at < size + 8:
                break
            self._take(kind, data[at + 7 : at + 7 + size])
            at += size + 8
        self._unread = data[at:]

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _HEADER:
            start = payload.index(_TIME) + len(_TIME)
            length = int.from_bytes(payload[start : start + 4], "big")
            enqueued = datetime.fromisoformat(payload[start + 4 : start + 4 + length].decode()).timestamp()
            tag, again = self._delivery
            self.seen["redelivered"] += again
            self._waiting.append((tag, enqueued))
            self._fill()
        elif kind == _METHOD:
            name = struct.unpack_from(">HH", payload)
            if name == DELIVER:
                at = 5 + payload[4]
                self._delivery = (int.from_bytes(payload[at : at + 8], "big"), bool(payload[at + 8] & 1))
            elif name in self._next:
                self._transport.write(self._next[name])
            elif name == CONSUMING:
                self.ready, self.seen["ready"] = True, time.time()
            elif name == CANCELLED:
                self.cancelled.set()
            elif name == CLOSED:
                self.closed.set()
            else:
                print(f"the broker says {name}: {payload[4:]!r}", flush=True)
                os._exit(1)

    # -------------------------------------------------------------------------------------------------------- jobs

    def _fill(self) -> None:
        while self._waiting and self.running < CONCURRENCY and not self._draining:
            tag, enqueued = self._waiting.popleft()
            began = time.time()
            self.seen["first"] = self.seen["first"] or began
            self.running += 1
            self._begun += began
            asyncio.get_running_loop().call_later(SECONDS, self._end, tag, began, max(0.0, began - enqueued))

    def _end(self, tag: int, began: float, waited: float) -> None:
        now = time.time()
        self.running -= 1
        self._begun -= began
        self._busy += now - began
        self.seen["settled"] += 1
        self.seen["wait_sum"] += waited
        self.waits[int(waited * 10)] = self.waits.get(int(waited * 10), 0) + 1
        self._recent.append((now, waited, now - began))
        self._settle(method(1, (60, 80), struct.pack(">QB", tag, 0)))
        self._fill()
        if not self.running:
            self.idle.set()

    def _settle(self, packed: bytes) -> None:
        """All of one turn as one write."""
        if not self._settling:
            asyncio.get_running_loop().call_soon(self._flush)
        self._settling.append(packed)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._settling))
        self._settling.clear()

    # ------------------------------------------------------------------------------------------------------- to others

    def figures(self) -> dict[str, dict[str, float]]:
        """As core/figures.py has them."""
        now = time.time()
        while self._recent and self._recent[0][0] < now - RECENT:
            self._recent.popleft()
        busy = self._busy + self.running * now - self._begun
        told = {"in_flight": self.running, "held": self.running + len(self._waiting), "settled": self.seen["settled"]}
        told |= {"busy_seconds": max(0.0, busy), "recent": len(self._recent)}
        if self._recent:
            waits, took = (sorted(one[place] for one in self._recent) for place in (1, 2))
            told |= {"wait_mean": sum(waits) / len(waits), "wait_p95": waits[int(0.95 * len(waits))]}
            told |= {"handler_mean": sum(took) / len(took), "handler_p95": took[int(0.95 * len(took))]}
        return {QUEUE: told}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        ready = self.ready
        body = json.dumps(self.figures() if asked == b"/figures" else {"ready": ready}).encode()
        status = b"200 OK" if ready or asked == b"/figures" else b"503 Service Unavailable"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()

    async def drain(self) -> None:
        """Take nothing more, hand back what has not begun, let what runs end, say what was seen."""
        self.ready = False
        self._transport.write(method(1, (60, 30), short(_TAG) + b"\0"))
        await self.cancelled.wait()
        self._draining = True  # what was on its way until now, and found a free slot, runs
        for tag, _ in self._waiting:
            self._settle(method(1, (60, 120), struct.pack(">QB", tag, 2)))
        self.seen["handed_back"] = len(self._waiting)
        while self.running:
            self.idle.clear()
            await self.idle.wait()
        await asyncio.sleep(0)  # acks of this turn
        body = json.dumps({"pod": self.pod} | self.seen | {"waits": self.waits, "cpu": sum(os.times()[:2])}).encode()
        content = frame(_HEADER, 1, struct.pack(">HHQH", 60, 0, len(body), 0)) + frame(_BODY, 1, body)
        self._transport.write(method(1, (60, 40), b"\0\0" + short("") + short(RESULTS) + b"\0") + content)
        self._transport.write(method(0, CLOSE, struct.pack(">H", 200) + short("") + b"\0\0\0\0"))
        await self.closed.wait()


async def main() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    url = urlsplit(os.environ["STEP_BROKER"])
    assert url.hostname is not None  # noqa: S101 - the step names one
    _, worker = await loop.create_connection(Worker, url.hostname, url.port or 5672)
    server = await asyncio.start_server(worker.answer, "0.0.0.0", PORT)  # noqa: S104 - the kubelet and the controller ask here
    await stop.wait()
    async with asyncio.timeout(5):
        if worker.ready:
            await worker.drain()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
