"""Headers that stand twice: lists are joined, a trace of which there are two is none."""

from __future__ import annotations

from core.envelope import trace_headers
from service.headers import by_name

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = PARENT.replace(b"0af7", b"1af7")


def of(*lines: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    return by_name({"headers": list(lines)})


def test_lists_are_joined_in_their_order() -> None:
    headers = of((b"traceparent", PARENT), (b"tracestate", b"a=1"), (b"x", b"1"), (b"tracestate", b"b=2"), (b"baggage", b"c=3"))
    assert trace_headers(headers) == (("traceparent", PARENT.decode()), ("tracestate", "a=1,b=2"), ("baggage", "c=3"))


def test_two_traceparents_are_none() -> None:
    for second in (OTHER, PARENT, b""):
        headers = of((b"traceparent", PARENT), (b"tracestate", b"a=1"), (b"traceparent", second))
        assert trace_headers(headers) == ()


def test_what_nobody_reads_may_stand_as_often_as_it_likes() -> None:
    assert of((b"via", b"a"), (b"via", b"b"), (b"accept", b"c")) == {b"via": b"b", b"accept": b"c"}
