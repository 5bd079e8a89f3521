"""SIGTERM and SIGINT: the first asks for a drain, a later one for the end at once. The end of the parent asks for a drain alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from telemetry import logs
from telemetry.early import OURS, Wish, wish

_log = logs.get("program")

# A start that is cancelled again and again, each second, and goes on: less than the drain, for which an orchestrator waits.
_CANCEL_EVERY, _CANCELLATIONS = 1.0, 15

Result = TypeVar("Result")


def listen(stop: Callable[[], None], end: Callable[[], object] = lambda: os._exit(1), of: Wish = wish) -> None:
    """Call `stop` on this loop at the first SIGTERM or SIGINT, at once where that came while modules loaded, and `end` when one
    comes a second or more later, whatever the loop is at.

    A program that stops for a reason of its own has not had its first signal.
    """
    loop = asyncio.get_running_loop()
    of.hear(lambda: _soon(loop, stop), end)


def _soon(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """From a signal's handler. A loop that has been closed has nothing left to stop."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stop)


@asynccontextmanager
async def unless(stop: asyncio.Event, end: Callable[[], object] = lambda: os._exit(1)) -> AsyncIterator[None]:
    """Leave the body off, which is cancelled, as soon as `stop` is set: a start must not outlast the wish to end.

    It is cancelled again each second: `asyncio.wait_for` of Python 3.11, with which redis-py sends, swallows a cancellation that
    comes in the turn of its answer. `end` is called for a body that goes on for 15 s all the same. Half-open parts are then closed
    with the rest, outside of the body.
    """
    task, cancellations = asyncio.current_task(), 0
    assert task is not None  # noqa: S101 - we are in a coroutine

    async def watch() -> None:
        nonlocal cancellations
        await stop.wait()
        for _ in range(_CANCELLATIONS):
            task.cancel()
            cancellations += 1
            await asyncio.sleep(_CANCEL_EVERY)
        _log.critical("the start goes on although it was cancelled: the process ends at once", cancelled=_CANCELLATIONS)
        end()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if task.cancelling() != cancellations or not cancellations:
            raise  # somebody else's
    except Exception:
        if not cancellations:
            raise  # else it is a library's answer to being cancelled
    finally:
        watching.cancel()
        for _ in range(cancellations):
            task.uncancel()


def ignore() -> None:
    """Have them do nothing any more: for a program that has done all that it had to. One that comes then would make a failure of a
    program that has drained."""
    for number in OURS:
        signal.signal(number, signal.SIG_IGN)


async def to_the_end(program: Awaitable[Result]) -> Result:
    """Run it, and `ignore` signals from then on. Its exceptions are passed on."""
    result = await program
    ignore()
    return result
