"""Every byte that we pack by hand, held against pamqp's encoder."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from adapters.rabbitmq import frames

names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40)
shorts = st.text(max_size=60)


@given(
    channel=st.integers(1, 2047),
    key=shorts,
    exchange=st.from_regex(r"[a-zA-Z0-9_.-]{0,60}", fullmatch=True),
    headers=st.dictionaries(names, st.text(max_size=300), max_size=12),
    body=st.binary(max_size=700),
    priority=st.integers(0, 9),
    frame_max=st.sampled_from([64, 131_072]),
)
def test_publish(
    channel: int, key: str, exchange: str, headers: dict[str, str], body: bytes, priority: int, frame_max: int
) -> None:
    headers = dict(sorted(headers.items()))  # pamqp's order; a table has none
    ours = frames.publish(
        channel, frame_max, exchange, key, headers=headers, body=body, message_id="id-1", job_type="a.b", priority=priority
    )
    table: FieldTable = {**headers}
    properties = commands.Basic.Properties(
        content_type="application/json", headers=table, delivery_mode=2, priority=priority, message_id="id-1", message_type="a.b"
    )
    theirs = frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True), channel)
    theirs += frame.marshal(ContentHeader(body_size=len(body), properties=properties), channel)
    for start in range(0, len(body), frame_max - 8):
        theirs += frame.marshal(ContentBody(body[start : start + frame_max - 8]), channel)
    assert ours == theirs


@given(channel=st.integers(1, 2047), tag=st.integers(1, 2**63 - 1), flag=st.booleans())
def test_ack_and_nack(channel: int, tag: int, flag: bool) -> None:
    assert frames.ack(channel, tag, multiple=flag) == frame.marshal(commands.Basic.Ack(tag, flag), channel)
    assert frames.nack(channel, tag, requeue=flag) == frame.marshal(commands.Basic.Nack(tag, False, flag), channel)
