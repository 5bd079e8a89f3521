"""A small real HTTP proxy in the test's own event loop (RFC 9110, 9.3.6: CONNECT; RFC 9112, 3.2.2: whole URLs)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Proxy:
    """It leads every name to one port of this machine. asked: hosts with ports. logins: headers with user and password."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.asked: list[str] = []
        self.logins: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, target, version = first.split(" ")
        self.logins += [line.partition(": ")[2] for line in lines if line.lower().startswith("proxy-authorization:")]
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        if method == "CONNECT":
            self.asked.append(target)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            parts = urlsplit(target)
            self.asked.append(parts.netloc)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            back.write("\r\n".join([f"{method} {path} {version}", *lines]).encode())
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def forwarding(to: str) -> AsyncIterator[Proxy]:
    """to: the URL of the server that it leads to."""
    port = urlsplit(to).port
    assert port is not None
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
