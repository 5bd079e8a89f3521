"""The publisher's tags, bytes and limits, on a channel that is only a table."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapters.rabbitmq import publisher as module
from adapters.rabbitmq.publisher import Publisher
from adapters.rabbitmq.size_limit import SizeLimit
from core.errors import BrokerUnavailable, PublishTimeout, TooLarge, Unpublishable, Unroutable, WindowFull
from core.ports import Message

LIMIT = 1000


class Channel:
    """The part of aiormq's channel that a publisher uses; keeps what is written."""

    number, is_closed = 1, False
    connection = SimpleNamespace(connection_tune=SimpleNamespace(frame_max=4096))

    def __init__(self, room: int = 100) -> None:
        self.write_queue: asyncio.Queue[Any] = asyncio.Queue(room)
        self.frames: asyncio.Queue[Any] = asyncio.Queue()

    async def _get_frame(self) -> Any:
        return await self.frames.get()

    def published(self) -> int:
        """How many Basic.Publish were written."""
        data, count = b"", 0
        while not self.write_queue.empty():
            data += self.write_queue.get_nowait().payload
        while data:
            size, _, method = frame.unmarshal(data)
            count += isinstance(method, Basic.Publish)
            data = data[size:]
        return count


def made(limit: int = LIMIT, timeout: float = 5.0, room: int = 100) -> tuple[Publisher, Channel, list[Message]]:
    channel = Channel(room)
    returned: list[Message] = []
    return Publisher(channel, timeout, SizeLimit(limit), returned.append), channel, returned  # type: ignore[arg-type]  # what is used of a channel


def message(job_id: str = "a", body: bytes = b"{}", job_type: str = "a.b", **more: Any) -> Message:
    return Message(job_id, job_type, {"x": "y"}, body, **more)


poison = st.one_of(
    st.just(message(job_type="x" * 300)),
    st.just(message(job_id="\udcff")),
    st.just(message(body=b"x" * (LIMIT + 1))),
    st.just(message(priority=1000)),
    st.just(Message("a", "a.b", {"n": None}, b"{}")),  # type: ignore[dict-item]  # what a program may do
    st.just(Message("a", "a.b", {}, None)),  # type: ignore[arg-type]  # as above
    st.just(message(queue="q", delay=float("nan"))),
)
good = st.builds(message, job_id=st.sampled_from("abc"), body=st.binary(max_size=50))


@given(windows=st.lists(st.lists(st.one_of(good, poison), max_size=6), max_size=6))
def test_as_many_tags_are_taken_as_frames_are_written(windows: list[list[Message]]) -> None:
    async def run() -> None:
        publisher, channel, _ = made()
        for window in windows:
            futures = publisher.publish(window)
            assert len(futures) == len(window)
            assert channel.published() == sum(not future.done() for future in futures)
            assert all(isinstance(f.exception(), Unpublishable) for f in futures if f.done())
            last = publisher._tag
            await publisher._confirmed(Basic.Ack(last, True))
            assert all(future.done() for future in futures)
            assert all(f.exception() is None for f in futures if not isinstance(f.exception(), Unpublishable))
        assert (publisher._sent, publisher._names, publisher._bytes) == ({}, {}, 0)

    asyncio.run(run())


async def test_each_confirm_is_its_own_messages() -> None:
    publisher, _, _ = made()
    one, two, three, four = publisher.publish([message("a"), message("a"), message("b"), message("c")])
    await publisher._confirmed(Basic.Nack(2))
    assert isinstance(two.exception(), BrokerUnavailable)
    one.cancel()
    await publisher._confirmed(Basic.Ack(3, True))
    assert three.result() is None
    assert not four.done()
    publisher.fail_all("the end")
    assert isinstance(four.exception(), PublishTimeout)


@pytest.mark.parametrize("body", [b"", b"x" * 9000])
async def test_what_is_returned_is_unroutable_and_its_ack_still_counts(body: bytes) -> None:
    publisher, channel, returned = made(limit=0)
    lost, kept = publisher.publish([message("lost", body), message("kept")])
    for part in [ContentHeader(0, len(body), Basic.Properties(message_id="lost"))] + (
        [SimpleNamespace(value=body)] if body else []
    ):
        channel.frames.put_nowait(part)
    await publisher._returned(Basic.Return(312, "NO_ROUTE", "jobs", "a.b"))
    assert isinstance(lost.exception(), Unroutable)
    assert [m.job_id for m in returned] == ["lost"]
    await publisher._confirmed(Basic.Ack(1))
    assert not kept.done()
    await publisher._confirmed(Basic.Ack(2))
    assert kept.result() is None


async def test_the_limit_is_learned_from_the_broker_and_only_what_is_above_it_is_too_large() -> None:
    publisher, channel, _ = made(limit=0)
    small, large = publisher.publish([message("small"), message("large", b"x" * 500)])
    publisher.fail_all("PRECONDITION_FAILED - message size 500 is larger than configured max size 400")
    assert isinstance(small.exception(), PublishTimeout)
    error = large.exception()
    assert isinstance(error, TooLarge)
    assert (error.size, error.limit) == (500, 400)
    channel.published()
    (again,) = publisher.publish([message("large", b"x" * 401)])
    assert isinstance(again.exception(), TooLarge)
    assert channel.published() == 0


async def test_bytes_that_wait_are_bounded_but_one_message_may_always_go() -> None:
    publisher, _, _ = made(limit=0)
    large = b"x" * (module.MOST_BYTES + 1)
    first, second = publisher.publish([message("first", large), message("second")])
    (third,) = publisher.publish([message("third")])
    assert isinstance(second.exception(), WindowFull)
    assert isinstance(third.exception(), WindowFull)
    assert not first.done()
    await publisher._confirmed(Basic.Ack(publisher._tag, True))
    (fourth,) = publisher.publish([message("fourth")])
    assert first.result() is None
    assert not fourth.done()


@pytest.mark.looptime
async def test_a_confirm_has_time_in_proportion_to_the_bytes_before_it() -> None:
    publisher, _, _ = made(limit=0, timeout=5.0)
    (future,) = publisher.publish([message("m", b"x" * (10 * module.BYTES_A_SECOND))])
    await asyncio.sleep(14.9)
    assert not future.done()
    await asyncio.sleep(0.2)
    assert isinstance(future.exception(), PublishTimeout)
    assert publisher.timed_out
    publisher.probe()
    await publisher._confirmed(Basic.Nack(1))
    assert not publisher.timed_out, "the broker answers"


async def test_a_full_write_buffer_takes_no_tags() -> None:
    publisher, _, _ = made(room=1)
    (sent,) = publisher.publish([message("sent")])
    (refused,) = publisher.publish([message("refused")])
    assert isinstance(refused.exception(), BrokerUnavailable)
    assert publisher._tag == 1
    await publisher._confirmed(Basic.Ack(1))
    assert sent.result() is None
