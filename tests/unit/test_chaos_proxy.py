"""The proxy of the chaos tests does to a connection what it says, and undoes it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import pytest

from tests.chaos.harness.proxy import Loop, Proxy

_SHORT = 0.3  # seconds in which an echo would come, and none does


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.end()


@pytest.fixture
async def proxy(loop: Loop) -> AsyncIterator[Proxy]:
    """Before a server that sends back what it gets; the first port is one where no server listens."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        made = Proxy(loop, (nobody.getsockname()[1], server.sockets[0].getsockname()[1]))
        yield made
        made.end()
    for client in Client.all:
        client.close()
    Client.all.clear()
    server.close()


class Client:
    all: ClassVar[list[Client]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.all.append(self)

    def close(self) -> None:
        self._writer.close()

    @classmethod
    async def to(cls, proxy: Proxy) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    def say(self, what: bytes) -> None:
        self._writer.write(what)

    async def hears(self, seconds: float = 10.0) -> bytes | None:
        """The bytes that came, or None after `seconds` without any."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._reader.read(100)
        return None


async def test_it_forwards_to_the_first_that_accepts(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    client.say(b"one")
    assert await client.hears() == b"one"


async def test_a_stall_keeps_all_and_gives_it_back(proxy: Proxy) -> None:
    old = await Client.to(proxy)
    await asyncio.to_thread(proxy.stall)
    new = await Client.to(proxy)
    for client in (old, new):
        client.say(b"kept")
        assert await client.hears(_SHORT) is None
    await asyncio.to_thread(proxy.heal)
    assert [await old.hears(), await new.hears()] == [b"kept", b"kept"]


async def test_a_partition_loses_all_and_leaves_old_connections_dead(proxy: Proxy) -> None:
    old = await Client.to(proxy)
    old.say(b"before")
    assert await old.hears() == b"before"
    await asyncio.to_thread(proxy.partition)
    old.say(b"lost")
    assert await old.hears(_SHORT) is None
    await asyncio.to_thread(proxy.heal)
    old.say(b"lost too")
    assert await old.hears(_SHORT) is None
    new = await Client.to(proxy)
    new.say(b"after")
    assert await new.hears() == b"after"


async def test_refused_is_reset_and_comes_back_on_the_same_port(proxy: Proxy) -> None:
    old = await Client.to(proxy)
    old.say(b"one")
    assert await old.hears() == b"one"
    await asyncio.to_thread(proxy.refuse)
    with pytest.raises(ConnectionResetError):
        await old.hears()
    with pytest.raises(ConnectionRefusedError):
        await Client.to(proxy)
    await asyncio.to_thread(proxy.heal)
    new = await Client.to(proxy)
    new.say(b"two")
    assert await new.hears() == b"two"
