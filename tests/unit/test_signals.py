"""The first signal drains, a repeat of it changes nothing, a later one ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from telemetry import signals
from telemetry.early import OURS, PARENT_DIED, REPEATED_WITHIN, Wish
from telemetry.signals import listen, unless


class Heard:
    """The ends that were asked for; the clock shows `now`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.wish = Wish(lambda: self.now)

    def listen(self) -> None:
        listen(lambda: self.asked.append("drain"), lambda: self.asked.append("end"), self.wish)


@pytest.fixture
def heard() -> Iterator[Heard]:
    before = {number: signal.getsignal(number) for number in OURS}
    yield Heard()
    for number, handler in before.items():
        signal.signal(number, handler)


async def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    for _ in range(3):  # through the loop's own pipe
        await asyncio.sleep(0)


async def test_a_signal_and_its_repeats_are_one_wish(heard: Heard) -> None:
    heard.listen()
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        await send(number)
    assert heard.asked == ["drain"]
    heard.now += REPEATED_WITHIN * 0.99
    await send(signal.SIGTERM)
    assert heard.asked == ["drain"]
    heard.now += REPEATED_WITHIN * 0.02
    await send(signal.SIGINT)
    assert heard.asked == ["drain", "end"]


async def test_the_end_of_the_parent_asks_for_a_drain_and_cuts_none_short(heard: Heard) -> None:
    heard.listen()
    await send(PARENT_DIED)
    assert heard.asked == ["drain"]
    for _ in range(3):
        heard.now += 10.0
        await send(PARENT_DIED)
    assert heard.asked == ["drain"]
    await send(signal.SIGTERM)
    assert heard.asked == ["drain", "end"]


async def test_what_came_before_the_loop_listens_is_heard_then(heard: Heard) -> None:
    heard.wish.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    heard.listen()
    await asyncio.sleep(0)
    assert heard.asked == ["drain"]


async def test_a_second_signal_ends_a_program_whose_loop_is_held_up(heard: Heard) -> None:
    heard.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    heard.now += 2 * REPEATED_WITHIN
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard.asked == ["end"], "no turn of the loop has passed"
    await asyncio.sleep(0)


async def test_an_error_that_answers_the_cancellation_is_none() -> None:
    stop = asyncio.Event()
    stop.set()
    async with unless(stop):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("cancelled") from None
    await asyncio.sleep(0)


async def test_what_is_under_way_is_left_off_when_the_end_is_asked_for() -> None:
    stop, begun, ended = asyncio.Event(), asyncio.Event(), list[str]()

    async def start() -> None:
        async with unless(stop):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
        ended.append("went on")
        await asyncio.sleep(0)  # nothing of the cancellation is left

    task = asyncio.create_task(start())
    await begun.wait()
    stop.set()
    await task
    assert ended == ["cancelled", "went on"]


async def test_a_cancellation_that_a_library_swallows_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_CANCEL_EVERY", 0.0)
    stop, swallowed = asyncio.Event(), 0
    stop.set()
    async with unless(stop):
        while swallowed < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()
    assert swallowed == 3
    await asyncio.sleep(0)


async def test_a_body_that_swallows_each_cancellation_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_CANCEL_EVERY", 0.0)
    stop, ended, swallowed = asyncio.Event(), asyncio.Event(), 0
    stop.set()
    async with unless(stop, ended.set):
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                swallowed += 1
    assert swallowed == signals._CANCELLATIONS


async def test_what_ends_by_itself_is_not_touched_and_what_it_raises_is_raised() -> None:
    stop = asyncio.Event()
    async with unless(stop):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with unless(stop):
            raise TimeoutError
    stop.set()
    await asyncio.sleep(0)


async def test_a_cancellation_by_somebody_else_is_not_ours() -> None:
    stop, begun = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        async with unless(stop):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(start())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    begun.clear()
    task = asyncio.create_task(start())
    await begun.wait()
    stop.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
