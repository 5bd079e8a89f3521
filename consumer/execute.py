"""One run of a handler, and what follows from how it ended. What follows is a plan; `settle.py` carries it out."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from consumer.context import Context, TimeLimitExceeded
from jobs.errors import Permanent, RetryLater
from jobs.model import Reason
from jobs.ports import Failure
from jobs.retry import MAX_DELAY, RetryPolicy
from telemetry import metrics

# A record is for people; what is longer belongs into the handler's own store.
MAX_RESULT = 262_144  # bytes
MAX_TRACEBACK = 8_192  # characters, the end of it


@dataclass(frozen=True, slots=True)
class Succeed:
    """result: JSON text, or None."""

    result: str | None = None


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """delay: seconds."""

    delay: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class Bury:
    reason: Reason
    failure: Failure


Plan = Succeed | RetryAfter | Bury


def after_failure(error: Exception, policy: RetryPolicy, attempt: int, rng: random.Random) -> RetryAfter | Bury:
    """What follows from the failure of run number `attempt`."""
    failure = describe(error)
    if isinstance(error, Permanent):
        return Bury(Reason.PERMANENT, failure)
    delay = policy.delay(attempt, rng)
    if delay is None:
        return Bury(Reason.EXHAUSTED, failure)
    if isinstance(error, RetryLater):
        delay = min(error.delay, MAX_DELAY)
    return RetryAfter(delay, failure)


def describe(error: BaseException) -> Failure:
    """An error as it is recorded: its class, its text and the end of its traceback."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = "".join(traceback.format_exception(error))
    return Failure(name, str(error)[:MAX_TRACEBACK], text[-MAX_TRACEBACK:])


async def run_coroutine(function: Callable[..., Any], payload: BaseModel, ctx: Context, injected: dict[str, Any]) -> Any:
    """Run a coroutine handler; at its time limit it is cancelled, and TimeLimitExceeded raised."""
    limit = asyncio.timeout(ctx.time_limit)
    try:
        async with limit:
            return await function(payload, ctx, **injected)
    except TimeoutError:
        if limit.expired():
            raise TimeLimitExceeded(f"ran longer than its limit of {ctx.time_limit:g} s") from None
        raise


class RunsOn(asyncio.CancelledError):
    """The task was cancelled, and the plain function that it waited for cannot be: its effects may still come."""


async def run_thread(
    function: Callable[..., Any], payload: BaseModel, ctx: Context, injected: dict[str, Any], threads: Executor
) -> Any:
    """Run a plain handler in a thread. It cannot be stopped: past its time limit `ctx.check()` raises in it, a metric
    counts it, and we go on waiting. What it returns late still counts, because its effects have happened.

    Raises RunsOn when cancelled while the function runs.
    """
    running = threads.submit(lambda: function(payload, ctx, **injected))
    returned = asyncio.wrap_future(running)
    try:
        done, _ = await asyncio.wait({returned}, timeout=ctx.time_limit)
        return returned.result() if done else await _overdue(returned, ctx)
    except asyncio.CancelledError:
        if running.cancel() or running.done():
            raise
        ctx.overdue = True
        raise RunsOn from None


async def _overdue(returned: asyncio.Future[Any], ctx: Context) -> Any:
    ctx.overdue = True
    threads = metrics.OVERDUE_THREADS.labels(ctx.queue)
    threads.inc()
    try:
        ctx.log.warning("a plain function runs on past its time limit", time_limit_s=ctx.time_limit)
        await asyncio.wait({returned})
        return returned.result()
    finally:
        threads.dec()


def result_text(value: Any, ctx: Context) -> str | None:
    """What a handler returned as JSON text. What cannot be kept is dropped with a log line: its effects have happened."""
    if value is None:
        return None
    try:
        data = orjson.dumps(value, default=_plain)
    except TypeError as error:
        ctx.log.warning("the result is not JSON and is not kept", why=str(error))
        return None
    if len(data) > MAX_RESULT:
        ctx.log.warning("the result is too long and is not kept", bytes=len(data), most=MAX_RESULT)
        return None
    return data.decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)
