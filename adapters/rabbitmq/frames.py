"""AMQP 0-9-1 frames, packed by hand: the two places where a library's encoder is most of the cost.

A test holds every byte against pamqp's own encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache

_FRAME = struct.Struct(">BHI")  # type, channel, size
_END = b"\xce"
_METHOD, _HEADER, _BODY = 1, 2, 3
_SETTLE = struct.Struct(">BHIHHQBB")  # a whole frame: Basic.Ack or Basic.Nack
_CONTENT = struct.Struct(">HHQH")  # class, weight, size of the body, property flags

# content-type, headers, delivery-mode, priority, message-id, type: bits 15, 13, 12, 11, 7 and 5.
_FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 11 | 1 << 7 | 1 << 5
_FRAME_MAX = 131_072
_PERSISTENT = b"\x02"
_MULTIPLE, _REQUEUE = 1, 2


def publish(
    channel: int,
    frame_max: int,
    exchange: str,
    routing_key: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    message_id: str,
    job_type: str,
    priority: int,
) -> bytes:
    """Basic.Publish (mandatory), its content header and its body, persistent. Text headers are long strings."""
    table = b"".join(_entry(name, value) for name, value in headers.items())
    properties = b"".join(
        (
            _short("application/json"),
            len(table).to_bytes(4, "big"),
            table,
            _PERSISTENT,
            priority.to_bytes(1, "big"),
            _short(message_id),
            _short(job_type),
        )
    )
    header = _CONTENT.pack(60, 0, len(body), _FLAGS) + properties
    parts = [_method(channel, exchange, routing_key), _FRAME.pack(_HEADER, channel, len(header)), header, _END]
    most = (frame_max or _FRAME_MAX) - 8  # 0 agrees to any size
    for start in range(0, len(body), most):
        piece = body if len(body) <= most else body[start : start + most]
        parts += (_FRAME.pack(_BODY, channel, len(piece)), piece, _END)
    return b"".join(parts)


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Basic.Ack."""
    return _SETTLE.pack(_METHOD, channel, 13, 60, 80, tag, _MULTIPLE if multiple else 0, _END[0])


def nack(channel: int, tag: int, *, requeue: bool) -> bytes:
    """Basic.Nack of one delivery."""
    return _SETTLE.pack(_METHOD, channel, 13, 60, 120, tag, _REQUEUE if requeue else 0, _END[0])


@lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    payload = struct.pack(">HHH", 60, 40, 0) + _short(exchange) + _short(routing_key) + b"\x01"
    return _FRAME.pack(_METHOD, channel, len(payload)) + payload + _END


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return _short(name) + b"S"


def _entry(name: str, value: str) -> bytes:
    data = value.encode()
    return _name(name) + len(data).to_bytes(4, "big") + data


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"an AMQP short string has at most 255 bytes, not {len(data)}")
    return len(data).to_bytes(1, "big") + data
