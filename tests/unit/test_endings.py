"""However a run ends, that is an outcome: the delivery settles, its claim ends, its slot is free, and the consumer goes on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from consumer import Context, Permanent, RetryLater
from consumer.encoded import MAX_RESULT
from consumer.liveness import Liveness
from core.clock import SystemClock
from core.model import Reason, State
from tests.unit.consuming import Payload, World, consuming


class Mine(BaseException): ...


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class ExitingText(Exception):
    def __str__(self) -> str:
        raise SystemExit(4)


class NotText(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307 - that is what is wrong with it


class NoDelay(RetryLater):
    def __init__(self) -> None: ...


def _raise(error: BaseException) -> Callable[[Payload, Context], Any]:
    def act(_: Payload, __: Context) -> Any:
        raise error

    return act


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _recurse(n: int = 0) -> int:
    return _recurse(n + 1)


ENDINGS: dict[str, Callable[[Payload, Context], Any]] = {
    "exits": lambda *_: sys.exit(3),
    "is interrupted": _raise(KeyboardInterrupt()),
    "ends a generator": _raise(GeneratorExit("handler")),
    "raises a base of its own": _raise(Mine("mine")),
    "raises a group of bases": _raise(BaseExceptionGroup("g", [asyncio.CancelledError(), SystemExit(1)])),
    "is cancelled, it says": _raise(asyncio.CancelledError("from the handler")),
    "has a cancelled future": _raise(concurrent.futures.CancelledError()),
    "times out by itself": _raise(TimeoutError("its own")),
    "has an error without a text": _raise(NoText()),
    "has an error whose text exits": _raise(ExitingText()),
    "has an error whose text is none": _raise(NotText()),
    "has a text with a surrogate": _raise(ValueError("no such file: \udcff.txt\0")),
    "has a text of 50 MB": _raise(ValueError("x" * 50_000_000)),
    "runs out of an iterator": lambda *_: next(iter(())),
    "recurses": lambda *_: _recurse(),
    "asks for a retry without a delay": lambda *_: (_ for _ in ()).throw(NoDelay()),
}


@asynccontextmanager
async def _world(plain: bool, act: Callable[[Payload, Context], Any], **more: Any) -> AsyncIterator[World]:
    async with consuming(act, plain=plain, clock=SystemClock(), claim_lease=5.0, **more) as world:
        yield world


@pytest.mark.parametrize("plain", [False, True], ids=["coroutine", "plain"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_every_ending_is_an_outcome_that_is_retried_by_policy(ending: str, plain: bool) -> None:
    async def coroutine(payload: Payload, ctx: Context) -> Any:
        return act(payload, ctx)

    def act(payload: Payload, ctx: Context) -> Any:
        return ENDINGS[ending](payload, ctx) if payload.n < 0 else "well"

    async with _world(plain, act if plain else coroutine) as world:
        job_id = await world.submit(b'{"n": -1}')
        record = await world.ended(job_id)
        assert (record.state, record.attempts, len(world.runs)) == (State.DEAD, 3, 3)
        (letter,) = await world.dead()
        assert letter.reason is Reason.EXHAUSTED
        assert letter.failure is not None
        assert letter.failure.kind
        assert len(letter.failure.message) <= 8192
        assert len(letter.failure.traceback) <= 8192
        assert await world.empty()
        good = [await world.submit() for _ in range(8)]  # twice as many as there are slots
        assert [(await world.ended(one)).result for one in good] == ['"well"'] * 8
        assert world.ledger._held == {}


async def _cancels_itself(_: Payload, __: Context) -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "and returns"


async def _cancelled_child(_: Payload, __: Context) -> None:
    child = asyncio.ensure_future(asyncio.sleep(10))
    child.cancel()
    await child


async def _cancels_itself_later(_: Payload, __: Context) -> str:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.05, task.cancel)
    return "before that"


@pytest.mark.parametrize(
    ("act", "state"),
    [(_cancels_itself, State.SUCCEEDED), (_cancelled_child, State.DEAD), (_cancels_itself_later, State.SUCCEEDED)],
    ids=["itself", "a child", "itself, later"],
)
async def test_a_cancellation_of_the_handlers_own_making_is_its_own(act: Any, state: State) -> None:
    async with _world(False, act) as world:
        record = await world.ended(await world.submit())
        assert record.state is state
        assert len(world.runs) == record.attempts == (1 if state is State.SUCCEEDED else 3)
        assert await world.empty()


RESULTS: dict[str, Callable[[], Any]] = {
    "endless": _endless,
    "deep": _deep,
    "surrogate": lambda: {"v": "\ud800"},
    "huge": lambda: "x" * (MAX_RESULT + 1),
    "huge integer": lambda: {"v": 2**80},
    "keys": lambda: {(1, 2): 3},
    "without a text": lambda: {"v": NoText()},
    "exits when told": lambda: {"v": ExitingText()},
}


@pytest.mark.parametrize("plain", [False, True], ids=["coroutine", "plain"])
@pytest.mark.parametrize("result", RESULTS)
async def test_a_result_that_cannot_be_kept_is_a_success_without_one(result: str, plain: bool) -> None:
    async with _world(plain, lambda *_: RESULTS[result]()) as world:
        record = await world.ended(await world.submit())
        assert (record.state, record.result, record.attempts) == (State.SUCCEEDED, None, 1)
        assert await world.empty()


@pytest.mark.parametrize("value", RESULTS)
async def test_progress_that_cannot_be_kept_fails_no_job_and_reaches_no_store(value: str) -> None:
    async def act(_: Payload, ctx: Context) -> str:
        for _again in range(3):
            ctx.progress(RESULTS[value]())
        ctx.progress("x" * 30_000_000)
        return "done"

    async with _world(False, act, time_limit=30.0) as world:
        assert (await world.ended(await world.submit())).result == '"done"'
        assert world.ledger._notes == {}
        assert world.store.progressed == []


class Checked(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def look(cls, value: int) -> int:
        if value == 8:
            sys.exit(5)
        return {1: 1}[value]


@pytest.mark.parametrize("n", [7, 8], ids=["KeyError", "SystemExit"])
async def test_a_validator_that_breaks_is_a_failed_attempt(n: int) -> None:
    async with _world(False, lambda *_: None, payload=Checked) as world:
        record = await world.ended(await world.submit(b'{"n": %d}' % n))
        assert (record.state, record.attempts) == (State.DEAD, 3)
        assert world.ledger._held == {}
        assert (await world.ended(await world.submit())).state is State.SUCCEEDED


async def test_a_text_that_no_store_takes_fails_alone() -> None:
    runs: dict[int, int] = {}
    begun = asyncio.Event()

    async def act(payload: Payload, _: Context) -> None:
        runs[payload.n] = runs.get(payload.n, 0) + 1
        if len(runs) == 11:
            begun.set()
        await begun.wait()
        if payload.n < 0:
            raise ValueError(f"cannot read {os.fsdecode(bytes([0x61, 0xFF]))}")

    async with _world(False, act, concurrency=16, time_limit=30.0) as world:
        bad = await world.submit(b'{"n": -1}')
        good = [await world.submit(b'{"n": %d}' % n) for n in range(10)]
        states = [(await world.ended(one)).state for one in good]
        assert states == [State.SUCCEEDED] * 10
        assert (await world.ended(bad)).state is State.DEAD
        assert runs == {-1: 3} | dict.fromkeys(range(10), 1)
        assert world.ledger.up


async def test_permanent_is_permanent_whatever_it_says() -> None:
    class Sworn(Permanent):
        def __str__(self) -> str:
            raise NoText

    async with _world(False, _raise(Sworn())) as world:
        assert (await world.ended(await world.submit())).attempts == 1
        assert (await world.dead())[0].reason is Reason.PERMANENT


@pytest.mark.parametrize("strikes", [0, 3], ids=["well before", "not alive before"])
async def test_a_plain_function_that_stays_long_after_its_time_limit_ends_its_process(strikes: int) -> None:
    over, reasons = threading.Event(), list[str]()

    def stuck(_: Payload, __: Context) -> None:
        over.wait(30)

    async with consuming(stuck, plain=True, clock=SystemClock(), time_limit=0.05) as world:
        try:
            await world.submit()
            await world.until(lambda: world.runtime.overstaying(0.05))
            liveness = Liveness([world.runtime], 0.05, reasons.append)
            liveness._strikes["work"] = strikes
            for _ in range(2):
                await liveness.look(world.runtime)
            assert reasons == ["work: 1 runs have not ended 0.05 s after their time limit"]
        finally:
            over.set()
