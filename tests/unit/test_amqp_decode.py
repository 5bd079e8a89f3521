"""Frames from the broker: the same as pamqp's where that can read them, and no error where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from adapters.rabbitmq import decode
from adapters.rabbitmq.connection import Receiver

shorts = st.text(max_size=60)
values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=40),
        st.none(),
        st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC)),  # noqa: DTZ001
        st.binary(max_size=20).map(bytearray),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(shorts.filter(bool), inner, max_size=4)),
    max_leaves=8,
)
properties = st.builds(
    commands.Basic.Properties,
    content_type=st.none() | shorts,
    headers=st.none() | st.dictionaries(shorts.filter(bool), values, max_size=5),
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | shorts,
    expiration=st.none() | shorts,
    message_id=st.none() | shorts,
    timestamp=st.none() | st.just(datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
    message_type=st.none() | shorts,
    user_id=st.none() | shorts,
    app_id=st.none() | shorts,
)


def payload(whole: bytes) -> bytes:
    return whole[7:-1]


def told(of: Any) -> dict[str, Any]:
    return {name: getattr(of, name) for name in of.__slots__}


@given(size=st.integers(0, 2**63 - 1), properties=properties)
def test_a_valid_header_is_read_as_pamqp_reads_it(size: int, properties: commands.Basic.Properties) -> None:
    whole = frame.marshal(ContentHeader(body_size=size, properties=properties), 1)
    theirs: Any = frame.unmarshal(whole)[2]
    ours = decode.header(payload(whole))
    assert (ours.class_id, ours.weight, ours.body_size) == (theirs.class_id, theirs.weight, theirs.body_size)
    assert told(ours.properties) == told(theirs.properties)


@given(size=st.integers(0, 2**63 - 1), flags=st.integers(0, 2**16 - 1), rest=st.binary(max_size=300))
def test_a_header_of_any_bytes_is_read(size: int, flags: int, rest: bytes) -> None:
    assert decode.header(struct.pack(">HHQH", 60, 0, size, flags) + rest).body_size == size


@given(entries=st.binary(max_size=200), cut=st.integers(-5, 5))
def test_a_table_of_any_bytes_hides_nothing_behind_it(entries: bytes, cut: int) -> None:
    length = max(len(entries) + cut, 0)
    data = struct.pack(">HHQH", 60, 0, 7, 1 << 13 | 1 << 7) + struct.pack(">I", length) + entries + b"\x02id"
    found = decode.header(data)
    assert isinstance(found.properties.headers, dict | None)
    if cut == 0:
        assert found.properties.message_id == "id"


def test_what_can_be_read_is_kept() -> None:
    table = b"\x04name" + b"S\x00\x00\x00\x02M\xfc" + b"\x05bad\xfc\xfc" + b"I\x00\x00\x00\x05" + b"\x01?" + b"?"
    data = struct.pack(">HHQH", 60, 0, 2, 1 << 13 | 1 << 7 | 1 << 6)
    data += struct.pack(">I", len(table)) + table + b"\x03M\xfcl" + b"\xff" * 8
    found = decode.header(data).properties
    assert found.headers == {"name": "M\\xfc", "bad\\xfc\\xfc": 5}
    timestamp: object = found.timestamp  # a number where no date can be made of it
    assert (found.message_id, timestamp) == ("M\\xfcl", 2**64 - 1)


def test_tables_in_tables_without_end_are_left_out() -> None:
    data = b""
    for _ in range(5000):
        data = b"\x01aF" + struct.pack(">I", len(data)) + data
    whole = struct.pack(">HHQH", 60, 0, 2, 1 << 13) + struct.pack(">I", len(data)) + data
    assert decode.header(whole).body_size == 2


@given(tag=st.integers(1, 2**63 - 1), again=st.booleans(), exchange=st.from_regex(r"[a-z.]{0,60}", fullmatch=True), key=shorts)
def test_a_delivery_is_read_as_pamqp_reads_it(tag: int, again: bool, exchange: str, key: str) -> None:
    whole = frame.marshal(commands.Basic.Deliver("ctag", tag, again, exchange, key), 1)
    assert told(decode.method(payload(whole))) == told(frame.unmarshal(whole)[2])


@pytest.mark.parametrize("kind", [commands.Basic.Return, commands.Channel.Close, commands.Basic.Cancel, commands.Queue.DeclareOk])
def test_a_method_with_a_foreign_text_is_read(kind: Any) -> None:
    texts = {commands.Basic.Return: "routing_key", commands.Channel.Close: "reply_text", commands.Basic.Cancel: "consumer_tag"}
    name = texts.get(kind, "queue")
    plain = kind(**({"reply_code": 404} if "reply_code" in kind.__slots__ else {}) | {name: "Mxller"})
    for number in ("class_id", "method_id", "message_count", "consumer_count"):
        if number in kind.__slots__:
            setattr(plain, number, 5)
    whole = frame.marshal(plain, 1)
    read = decode.method(payload(whole).replace(b"Mxller", b"M\xfcller"))
    assert told(read) == told(frame.unmarshal(whole)[2]) | {name: "M\\xfcller"}


@given(st.binary(max_size=60))
def test_a_method_of_any_bytes_is_an_error_of_the_protocol_at_most(data: bytes) -> None:
    for begin in (b"", b"\0\x3c\0\x3c", b"\0\x3c\0\x32", b"\0\x14\0\x28"):
        with contextlib.suppress(InvalidFrameError):
            decode.method(begin + data)


@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12), step=st.integers(1, 500))
def test_frames_are_cut_from_a_stream_in_any_pieces(sizes: list[int], step: int) -> None:
    async def read() -> list[Any]:
        stream = b"".join(frame.marshal(ContentBody(b"x" * size), n) for n, size in enumerate(sizes))
        reader = asyncio.StreamReader()
        receiver = Receiver(reader, 131_072)
        for begin in range(0, len(stream), step):
            reader.feed_data(stream[begin : begin + step])
        reader.feed_eof()
        found = [await receiver.get_frame() for _ in sizes]
        with pytest.raises(AMQPConnectionError):
            await receiver.get_frame()
        return found

    found = asyncio.run(read())
    assert [(channel, len(body.value)) for _, channel, body in found] == list(enumerate(sizes))


@pytest.mark.parametrize("data", [b"\x03\0\1\0\1\0\0" + b"x" * 65_536 + b"\xce", b"\x03\0\1\0\0\0\1xx", b"\x07\0\1\0\0\0\1x\xce"])
async def test_what_is_no_frame_ends_the_connection(data: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    with pytest.raises(InvalidFrameError):
        await Receiver(reader, 65_000).get_frame()
