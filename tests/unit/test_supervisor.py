"""Loops that must run have an owner: one that ends, raises, is cancelled by a stranger or hangs begins again."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog

from telemetry.supervisor import MOST_FAILURES, TROUBLED_AFTER, Beat, Supervisor, cancelled

pytestmark = pytest.mark.looptime


async def _hang() -> None:
    await asyncio.Event().wait()


async def _cancel_myself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _return() -> None: ...


def _raiser(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


FAULTS = {
    "ends": _return,
    "raises": _raiser(Exception("bare")),
    "is cancelled by a library": _raiser(asyncio.CancelledError()),
    "is cancelled by a stranger": _cancel_myself,
    "times out": _raiser(TimeoutError()),
    "exits": _raiser(SystemExit(3)),
    "is interrupted": _raiser(KeyboardInterrupt()),
    "hangs": _hang,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_loop_that_fails_begins_again(fault: str) -> None:
    runs = 0
    works = asyncio.Event()

    async def work(beat: Beat) -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            await FAULTS[fault]()
            return
        while True:
            beat()
            works.set()
            await asyncio.sleep(1.0)

    owner = Supervisor()
    loop = owner.start("one", work, patience=10.0)
    await asyncio.wait_for(works.wait(), 60.0)
    await asyncio.sleep(120.0)
    assert runs == 3
    assert loop.running
    assert loop.wrong is None
    assert owner.wrong == []
    await owner.close()
    assert not loop.running


async def test_a_loop_that_beats_late_but_in_time_is_left_alone() -> None:
    runs = 0

    async def work(beat: Beat) -> None:
        nonlocal runs
        runs += 1
        while True:
            await asyncio.sleep(9.0)
            beat()

    owner = Supervisor()
    owner.start("slow", work, patience=10.0)
    await asyncio.sleep(600.0)
    assert runs == 1
    await owner.close()


async def test_what_keeps_failing_is_seen_and_then_ends_the_program() -> None:
    ended: list[str] = []
    owner = Supervisor(give_up=ended.append)
    loop = owner.start("broken", _never_works)
    while loop.failures < TROUBLED_AFTER:
        assert owner.wrong == []
        await asyncio.sleep(0.01)
    assert owner.wrong == ["broken: ValueError: always"]
    while loop.failures < MOST_FAILURES:
        assert ended == []
        await asyncio.sleep(0.01)
    assert ended == [f"broken: ValueError: always, {MOST_FAILURES} times in a row"]
    await owner.close()


async def _never_works(_: Beat) -> None:
    raise ValueError("always")


async def test_a_loop_that_swallows_its_cancellation_is_left_behind() -> None:
    let_go = asyncio.Event()
    runs = 0

    async def work(_: Beat) -> None:
        nonlocal runs
        runs += 1
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    owner = Supervisor()
    loop = owner.start("stubborn", work, patience=10.0)
    await asyncio.sleep(60.0)
    assert runs > 1  # another one works in its place
    closing = asyncio.get_running_loop().time()
    await loop.stop()
    assert asyncio.get_running_loop().time() - closing < 12.0  # virtual seconds
    let_go.set()
    await asyncio.sleep(1.0)


async def test_cancelling_insists() -> None:
    swallowed = 0

    async def swallow_one() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600.0)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    task = asyncio.ensure_future(swallow_one())
    await asyncio.sleep(0)
    assert await cancelled(task)
    assert swallowed == 2


async def test_a_short_task_is_kept_and_its_error_is_logged() -> None:
    async def fail() -> None:
        raise ValueError("lost")

    owner = Supervisor()
    with structlog.testing.capture_logs() as lines:
        owner.once("short", fail())
        await asyncio.sleep(0.1)
    assert [(line["task"], str(line["exc_info"])) for line in lines] == [("short", "lost")]
    await owner.close()


async def test_an_error_in_the_turn_in_which_a_loop_is_stopped_is_not_left_behind() -> None:
    left: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context))
    for turns in range(5):
        fail, owner = asyncio.Event(), Supervisor()

        async def work(_: Beat, fail: asyncio.Event = fail) -> None:
            await fail.wait()
            raise ValueError("now")

        one = owner.start("failing", work)
        await asyncio.sleep(0.01)
        fail.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        await one.stop()
        del one, owner
        gc.collect()
    assert left == []
