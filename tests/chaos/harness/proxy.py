"""A TCP proxy between one program and one server, which can stand still, be gone, be slow, or lose what it is given."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

_CHUNK = 65_536  # bytes
_WAITING = 16  # chunks that wait for a stalled peer before we stop reading, as a full window would
_NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends RST


class Loop:
    """An event loop in a thread of its own, so that nothing that a test computes delays what is forwarded."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def end(self) -> None:
        self.run(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Proxy:
    """Forwards to the first of `ports` (of 127.0.0.1) that accepts, as a load balancer with health checks does."""

    def __init__(self, loop: Loop, ports: Sequence[int]) -> None:
        self._loop, self._ports = loop, tuple(ports)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay, self._losing = 0.0, False
        self.port = 0
        loop.run(self._listen())

    def stall(self) -> None:
        """Nothing is forwarded, connections stay open and new ones are accepted; `heal` forwards all that waited."""
        self._loop.run(self._set(flowing=False))

    def slow(self, seconds: float) -> None:
        """Everything arrives so much later, each way."""
        self._loop.run(self._set(delay=seconds))

    def partition(self) -> None:
        """Sent bytes are lost, both ways, without notice to either end. An open connection stays dead after `heal`: half-open."""
        self._loop.run(self._set(losing=True))

    def refuse(self) -> None:
        """Connections are reset, new ones refused."""
        self._loop.run(self._refuse())

    def cut(self) -> None:
        """Connections are reset; new ones are welcome."""
        self._loop.run(self._reset())

    def heal(self) -> None:
        self._loop.run(self._heal())

    def end(self) -> None:
        self._loop.run(self._refuse())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, *, flowing: bool = True, delay: float = 0.0, losing: bool = False) -> None:
        self._delay, self._losing = delay, losing
        if losing:
            for pair in self._pairs:
                pair.lost = True
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _heal(self) -> None:
        await self._set()
        if self._server is None:
            await self._listen()

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._reset()

    async def _reset(self) -> None:
        for pair in tuple(self._pairs):
            pair.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer, lost=self._losing)
        self._pairs.add(pair)
        try:
            there = await self._connect()
            if there is None:
                pair.reset()
                return
            pair.writers.append(there[1])
            await asyncio.gather(self._forward(pair, reader, there[1]), self._forward(pair, there[0], writer))
        except asyncio.CancelledError:
            return  # the loop ends; asyncio's streams would print a cancellation
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in self._ports:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    async def _forward(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes that are read go into a queue with the time at which they are due, so that a delay is a delay and no throttle."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
        writing = asyncio.create_task(self._write(pair, queue, writer))
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not pair.lost:
                    await queue.put((clock() + self._delay, data))
        await queue.put((clock() + self._delay, b""))
        await writing

    async def _write(self, pair: _Pair, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._flowing.wait()
                if pair.lost:
                    continue  # neither bytes nor a farewell arrive
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


class _Pair:
    """Both halves of one connection. lost: bytes sent on it are lost, for ever."""

    def __init__(self, writer: asyncio.StreamWriter, *, lost: bool) -> None:
        self.writers, self.lost = [writer], lost

    def reset(self) -> None:
        for writer in self.writers:
            there = writer.get_extra_info("socket")
            if there is not None and there.fileno() >= 0:
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


async def _end_tasks() -> None:
    mine = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not mine]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
