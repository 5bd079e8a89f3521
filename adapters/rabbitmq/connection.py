"""aio-pika's plain connection, with three changes underneath: how frames are read, how many may wait, what a refusal says.

Each is a hook into aiormq; docs/decisions/0002-hooks-into-aiormq.md.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Mapping
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import TimeoutType, UnderlayConnection
from aio_pika.connection import make_url
from aiormq.connection import FrameReceiver, exception_by_code
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp.body import ContentBody
from pamqp.commands import Connection as Methods
from pamqp.heartbeat import Heartbeat

from adapters.rabbitmq import decode
from core.errors import BrokerUnavailable
from core.outgoing import CA_FILE, private, trusting

_FRAME = struct.Struct(">BHI")  # type, channel, size
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_END = 0xCE
_CHUNK = 65_536
_NO_BOUND = 2**31  # a broker that agrees to 0 bounds no frame


class Receiver(FrameReceiver):
    """Cuts frames from what has arrived, and waits only where that is not a whole one. most: bytes in a frame.

    aiormq's own awaits three reads for each frame; and at the end of a stream it stops without an error, so that a call that waits
    for an answer gets a bare `Exception`.
    """

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        super().__init__(reader)
        self._most = most or _NO_BOUND
        self._data = b""
        self._at = 0

    async def get_frame(self) -> tuple[int, int, Any]:
        """Weight, channel and frame. Raises AMQPError: there will be no more."""
        while (frame := self._next()) is None:
            await self._more()
        return frame

    async def _more(self) -> None:
        try:
            chunk = await self.reader.read(_CHUNK)
        except OSError as error:
            raise AMQPConnectionError(f"the connection is lost: {error}") from error
        if not chunk:
            raise AMQPConnectionError("the broker closed the connection")
        self._data, self._at = self._data[self._at :] + chunk, 0

    def _next(self) -> tuple[int, int, Any] | None:
        data, at = self._data, self._at
        if len(data) - at < _FRAME.size:
            return None
        kind, channel, size = _FRAME.unpack_from(data, at)
        if size > self._most:
            raise InvalidFrameError(f"a frame of {size} bytes; {self._most} were agreed")
        begin = at + _FRAME.size
        end = begin + size
        if len(data) <= end:
            return None
        if data[end] != _END:
            raise InvalidFrameError("a frame without its last byte")
        self._at = end + 1
        return size, channel, _decoded(kind, data[begin:end])


def _decoded(kind: int, payload: bytes) -> Any:
    if kind == _METHOD:
        return decode.method(payload)
    if kind == _HEADER:
        return decode.header(payload)
    if kind == _BODY:
        return ContentBody(payload)
    if kind == _HEARTBEAT:
        return Heartbeat()
    raise InvalidFrameError(f"there is no frame type {kind}")


class _Heard:
    """Remembers the last frame of a handshake, which aiormq names by its address in memory alone."""

    def __init__(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver
        self.last: Any = None

    async def get_frame(self) -> tuple[int, int, Any]:
        found = await self._receiver.get_frame()
        self.last = found[2]
        return found


class _Underneath(aiormq.Connection):
    # Windows and ack batches that may wait for the writer; aiormq's own 10 would be reached by a burst in one turn.
    FRAME_BUFFER_SIZE = 1024

    # The mangled name of aiormq's `Connection.__reader`.
    async def _Connection__reader(self, receiver: FrameReceiver) -> None:  # noqa: N802
        ours = Receiver(receiver.reader, self.connection_tune.frame_max)
        await super()._Connection__reader(ours)  # type: ignore[misc]

    @staticmethod
    async def _rpc(request: Any, writer: asyncio.StreamWriter, frame_receiver: Any, wait_response: bool = True) -> Any:
        """One step of the handshake. Raises what the broker says where it refuses: no such virtual host, for instance."""
        heard = _Heard(frame_receiver)
        try:
            return await aiormq.Connection._rpc(request, writer, heard, wait_response)  # type: ignore[arg-type]
        except InvalidFrameError:
            if isinstance(heard.last, Methods.Close):
                raise exception_by_code(heard.last) from None
            raise


class _Transport(UnderlayConnection):
    @classmethod
    async def make_connection(cls, url: Any, timeout: TimeoutType = None, **kwargs: Any) -> aiormq.abc.AbstractConnection:
        """Raises BrokerUnavailable for a URL that cannot be used, without it: the library's own error would show it."""
        try:
            connection = _Underneath(url, **kwargs)
        except (ValueError, KeyError):
            raise BrokerUnavailable(NO_URL) from None
        async with asyncio.timeout(timeout):
            await connection.connect()
        return connection


NO_URL = "HEADRACE_BROKER is not a URL of a broker: amqp://user:password@host:5672/vhost"


class Connection(aio_pika.Connection):
    """Not a robust one: that repeats publishes and hides losses; docs/decisions/0004-plain-aio-pika.md."""

    async def connect(self, timeout: TimeoutType = None) -> None:
        self.transport = await _Transport.connect(self.url, self._on_connection_close, timeout=timeout, **self.kwargs)
        await self._on_connected()

    def __del__(self) -> None:
        """Nothing: the code that connects also closes. aio-pika's makes a coroutine of `close`, also where nothing was ever
        connected. In another thread, where the garbage collector may find it, no loop runs that: Python then warns, not in our
        log."""

    @property
    def underneath(self) -> aiormq.Connection:
        """Raises BrokerUnavailable where there is none."""
        if self.transport is None:
            raise BrokerUnavailable("the connection is closed")
        connection = self.transport.connection
        assert isinstance(connection, aiormq.Connection)  # noqa: S101 - _Transport made it
        return connection


def connection_to(url: str, name: str, heartbeat: int, ca_file: str = "") -> Connection:
    """Not connected yet. heartbeat: seconds. ca_file: authorities to trust beside the system's, where the URL names none itself.
    Raises BrokerUnavailable, without the URL."""
    try:
        made = make_url(url, heartbeat=heartbeat, name=name)
        context = _trust(made.query, ca_file) if ca_file and made.scheme == "amqps" else None
        return Connection(made, ssl_context=context)
    except (ValueError, KeyError):
        raise BrokerUnavailable(NO_URL) from None


# With one of these, the URL itself says whom to trust; aiormq makes its own context of it.
_OWN_TRUST = {"cafile", "capath", "cadata"}


def _trust(query: Mapping[str, str], ca_file: str) -> ssl.SSLContext | None:
    """None: aiormq makes one of what the URL says. Raises BrokerUnavailable."""
    if query.keys() & _OWN_TRUST or query.get("no_verify_ssl", "0") == "1":
        return None
    try:
        if "certfile" not in query:
            return trusting(ca_file)
        context = private(ca_file)
        context.load_cert_chain(query["certfile"], query.get("keyfile"))
    except (ValueError, OSError) as error:
        raise BrokerUnavailable(f"certificates for HEADRACE_BROKER, of {CA_FILE} or of the URL's certfile: {error}") from None
    return context
