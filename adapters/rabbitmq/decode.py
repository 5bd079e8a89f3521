"""AMQP frames into pamqp's objects, whatever somebody else put into them.

pamqp raises for a text that is no UTF-8, a time beyond its calendar or a table cut short, and the connection ends with it: one such
message would end it again and again. Here a text's bad bytes are escaped, and of a table is kept what can be read. A property
test holds every valid frame against pamqp's own decoder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiormq.exceptions import InvalidFrameError
from pamqp import commands
from pamqp.base import Frame
from pamqp.header import ContentHeader

# Tables in tables. RabbitMQ's own go 3 deep (x-death); deeper ones than this are left out.
_DEEPEST = 16
_FIXED = struct.Struct(">HHQ")  # class, weight, size of the body
_TAG = struct.Struct(">Q?")
_DELIVER = commands.Basic.Deliver.index
_LAST_SECOND = 253_402_300_799  # of the year 9999

Read = Callable[[bytes, int, int], tuple[Any, int]]  # data, where, how deep: the value, and where it ends
_PROPERTIES = tuple(
    (name, commands.Basic.Properties.flags[name], getattr(commands.Basic.Properties, "_" + name))
    for name in commands.Basic.Properties.__slots__
)


class _CutShort(ValueError):
    """The data ends before the value does, or there is no such type."""


def header(data: bytes) -> ContentHeader:
    """A content header's payload. Raises InvalidFrameError only where not even the body's size is there."""
    if len(data) < _FIXED.size + 2:
        raise InvalidFrameError(f"a content header of {len(data)} bytes")
    class_id, weight, size = _FIXED.unpack_from(data)
    found = ContentHeader(weight, size)
    found.class_id = class_id
    try:
        flags, at = _flags(data, _FIXED.size)
        for name, flag, kind in _PROPERTIES:
            if flags & flag:
                value, at = _READ[kind](data, at, 0)
                setattr(found.properties, name, value)
    except (_CutShort, struct.error, IndexError):
        pass  # what stands behind cannot be found
    return found


def method(data: bytes) -> Frame:
    """A method's payload. Raises InvalidFrameError for a method that AMQP does not have."""
    index = int.from_bytes(data[:4], "big")
    try:
        return _deliver(data) if index == _DELIVER else _plain(index, data)
    except (_CutShort, struct.error, IndexError) as error:
        raise InvalidFrameError(f"method {index:#x} cannot be read: {error}") from None


def _deliver(data: bytes) -> Frame:
    frame = commands.Basic.Deliver()
    frame.consumer_tag, at = _short(data, 4, 0)
    frame.delivery_tag, frame.redelivered = _TAG.unpack_from(data, at)
    frame.exchange, at = _short(data, at + _TAG.size, 0)
    frame.routing_key, _ = _short(data, at, 0)
    return frame


def _plain(index: int, data: bytes) -> Frame:
    """By pamqp; and only where that fails, argument by argument."""
    kind = commands.INDEX_MAPPING.get(index)
    if kind is None:
        raise InvalidFrameError(f"there is no method {index:#x}")
    frame: Frame = kind()
    try:
        frame.unmarshal(data[4:])
    except Exception:  # whatever a foreign text makes it raise
        _arguments(frame, data)
    return frame


def _arguments(frame: Frame, data: bytes) -> None:
    at, bits = 4, 0
    for name in frame.__slots__:
        kind = frame.amqp_type(name)
        if kind == "bit":
            at += bits % 8 == 0
            setattr(frame, name, bool(data[at - 1] & 1 << bits % 8))
            bits += 1
        else:
            value, at = _READ[kind](data, at, 0)
            setattr(frame, name, value)
            bits = 0


def _flags(data: bytes, at: int) -> tuple[int, int]:
    """The first 15 flags; words that go on behind them are passed over, as AMQP has no more properties."""
    first = word = int.from_bytes(_take(data, at, 2), "big")
    at += 2
    while word & 1:
        word = int.from_bytes(_take(data, at, 2), "big")
        at += 2
    return first, at


def _take(data: bytes, at: int, size: int) -> bytes:
    piece = data[at : at + size]
    if len(piece) < size:
        raise _CutShort(f"{size} bytes are said to be at {at}, and {len(data)} are there")
    return piece


def text(data: bytes) -> str:
    """UTF-8, as AMQP wants it; other bytes are escaped as `\\xfc`."""
    return data.decode("utf-8", "backslashreplace")


def _short(data: bytes, at: int, _: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return text(_take(data, at + 1, data[at])), end


def _long(data: bytes, at: int, _: int) -> tuple[str, int]:
    piece = _bytes(data, at)
    return text(piece), at + 4 + len(piece)


def _bytes(data: bytes, at: int) -> bytes:
    return _take(data, at + 4, int.from_bytes(_take(data, at, 4), "big"))


def _number(form: str) -> Read:
    layout = struct.Struct(">" + form)
    return lambda data, at, _: (layout.unpack_from(data, at)[0], at + layout.size)


def _timestamp(data: bytes, at: int, _: int) -> tuple[datetime | int, int]:
    """A number that is no time of the calendar stays a number: some clients write milliseconds."""
    seconds = int.from_bytes(_take(data, at, 8), "big")
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LAST_SECOND else seconds, at + 8


def _decimal(data: bytes, at: int, _: int) -> tuple[Decimal, int]:
    places, value = struct.unpack_from(">BI", data, at)
    return Decimal(value) * Decimal(10) ** -places, at + 5


def _table(data: bytes, at: int, deep: int) -> tuple[dict[str, Any], int]:
    """As many entries as can be read; it ends where its length says, whatever is in it."""
    end = at + 4 + len(_bytes(data, at))
    at += 4
    entries: dict[str, Any] = {}
    try:
        while at < end:
            name, at = _short(data, at, 0)
            entries[name], at = _field(data, at, deep)
    except (_CutShort, struct.error, IndexError):
        pass
    return entries, end


def _array(data: bytes, at: int, deep: int) -> tuple[list[Any], int]:
    end = at + 4 + len(_bytes(data, at))
    at += 4
    values: list[Any] = []
    try:
        while at < end:
            value, at = _field(data, at, deep)
            values.append(value)
    except (_CutShort, struct.error, IndexError):
        pass
    return values, end


def _field(data: bytes, at: int, deep: int) -> tuple[Any, int]:
    read = _FIELDS.get(data[at])
    if read is None or deep >= _DEEPEST:
        raise _CutShort(f"no field type {data[at]}")
    return read(data, at + 1, deep + 1)


def _blob(data: bytes, at: int, _: int) -> tuple[bytearray, int]:
    piece = _bytes(data, at)
    return bytearray(piece), at + 4 + len(piece)


_FIELDS: dict[int, Read] = {
    ord("t"): _number("?"), ord("b"): _number("b"), ord("B"): _number("B"), ord("s"): _number("h"), ord("u"): _number("H"),
    ord("I"): _number("i"), ord("i"): _number("I"), ord("l"): _number("q"), ord("L"): _number("q"), ord("f"): _number("f"),
    ord("d"): _number("d"), ord("D"): _decimal, ord("S"): _long, ord("A"): _array, ord("T"): _timestamp, ord("F"): _table,
    ord("V"): lambda _, at, __: (None, at), 0: lambda _, at, __: (None, at), ord("x"): _blob,
}  # fmt: skip  # RabbitMQ, AMQP 0-9-1 Errata, section 3
_READ: dict[str, Read] = {
    "shortstr": _short, "longstr": _long, "table": _table, "timestamp": _timestamp, "octet": _number("B"), "short": _number("H"),
    "long": _number("I"), "longlong": _number("q"),
}  # fmt: skip
