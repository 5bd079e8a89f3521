"""The envelope: its headers are read as written, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.envelope import Envelope, trace_headers
from core.errors import EnvelopeError, UnknownVersion

ID = "01a20c57-040c-7584-a42e-6f91a24065d8"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BARE = {"cloudEvents_specversion": "1.0", "cloudEvents_id": ID, "cloudEvents_source": "/shop", "cloudEvents_type": "a.b"}

milliseconds = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)


@given(
    st.builds(
        Envelope,
        job_id=st.uuids().map(str),
        job_type=st.from_regex(r"[a-z]{1,9}\.[a-z]{1,9}", fullmatch=True),
        accepted_at=milliseconds,
        attempt=st.integers(1, 999_999_999),
        replay=st.integers(0, 999),
        priority=st.integers(0, 9),
        deadline=st.none() | milliseconds,
        trace=st.just((("traceparent", PARENT), ("baggage", "a=ü"))) | st.just(()),
    )
)
def test_what_is_written_is_read(envelope: Envelope) -> None:
    headers = envelope.headers()
    assert all(isinstance(value, str) for value in headers.values())
    assert Envelope.read(headers, 0.0) == envelope


def test_the_version_before_is_a_bare_cloud_event() -> None:
    envelope = Envelope.read(BARE, now=7.0)
    assert (envelope.job_id, envelope.attempt, envelope.accepted_at, envelope.source) == (ID, 1, 7.0, "/shop")


@pytest.mark.parametrize("missing", sorted(BARE))
def test_a_missing_header_is_named(missing: str) -> None:
    with pytest.raises(EnvelopeError, match=missing):
        Envelope.read({name: value for name, value in BARE.items() if name != missing}, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cloudEvents_id", ID.upper()),
        ("cloudEvents_time", "yesterday"),
        ("cloudEvents_time", "2026-01-31T09:30:00"),
        ("headrace-attempt", "0"),
        ("headrace-attempt", "-1"),
        ("headrace-attempt", "²"),
        ("headrace-attempt", "1" * 10),
        ("headrace-replay", "x"),
        ("headrace-deadline", ""),
    ],
)
def test_a_wrong_header_is_named(name: str, value: str) -> None:
    with pytest.raises(EnvelopeError, match=name):
        Envelope.read(BARE | {name: value}, 0.0)


@pytest.mark.parametrize("version", ["2", "", "1.0", "99"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UnknownVersion, match="headrace-version"):
        Envelope.read(BARE | {"headrace-version": version}, 0.0)


def test_the_next_attempt_and_a_replay() -> None:
    envelope = Envelope(ID, "a.b", 1.0, attempt=3, deadline=9.0)
    assert envelope.next_attempt().attempt == 4
    again = envelope.replayed(envelope.replay + 1)
    assert (again.attempt, again.replay, again.deadline) == (1, 1, None)


def test_a_replay_of_what_died_of_a_crash_may_kill_again() -> None:
    killer = Envelope(ID, "a.b", 1.0, attempt=5, crashes=4)
    assert [one.replayed(1, crashed=True).crashes for one in (killer, replace(killer, crashes=0))] == [4, 1]
    assert killer.replayed(1).crashes == 0


def test_a_trace_is_carried_and_a_malformed_one_is_not() -> None:
    carried = {b"traceparent": PARENT.encode(), b"tracestate": b"a=1", b"baggage": b"k=v", b"other": b"x"}
    assert trace_headers(carried) == (("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "k=v"))
    assert Envelope(ID, "a.b", 1.0, trace=trace_headers(carried)).trace_id == PARENT[3:35]
    assert Envelope(ID, "a.b", 1.0).trace_id is None
    for wrong in (
        b"",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        PARENT.upper().encode(),
        PARENT.encode() + b"-x",
        b"\xff" * 55,
    ):
        assert trace_headers({b"traceparent": wrong, b"baggage": b"k=v"}) == ()
    assert trace_headers(carried | {b"baggage": b"x" * 9000})[-1][0] == "tracestate"
