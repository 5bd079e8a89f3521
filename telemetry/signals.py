"""SIGTERM and SIGINT: the first asks for a drain, a later one for the end at once. The end of the parent asks for a drain alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from telemetry.early import ASKED, REPEATED_WITHIN, was_asked

# What Linux sends to a process when the one that keeps it dies, once for each thread of that one, some 3 ms apart. It is a signal
# of its own: the keeper may have asked for a drain long before, and its end must not cut that short.
PARENT_DIED = signal.SIGUSR2
_CANCEL_EVERY = 1.0
OURS = (*ASKED, PARENT_DIED)

Result = TypeVar("Result")


def listen(stop: Callable[[], None], end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Call `stop` at the first SIGTERM or SIGINT, and `end` at one that comes a second or more later.

    At once where the first came while modules loaded. A program that stops for a reason of its own has not had its first signal.
    """
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def signalled() -> None:
        if not first:
            first.append(loop.time())
            stop()
        elif loop.time() - first[0] >= REPEATED_WITHIN:
            end()

    def orphaned() -> None:
        if not first:
            signalled()

    for number in ASKED:
        loop.add_signal_handler(number, signalled)
    loop.add_signal_handler(PARENT_DIED, orphaned)
    if was_asked():
        signalled()


@asynccontextmanager
async def unless(stop: asyncio.Event) -> AsyncIterator[None]:
    """Leave the body off, which is cancelled, as soon as `stop` is set: a start must not outlast the wish to end.

    It is cancelled again each second: `asyncio.wait_for` of Python 3.11, with which redis-py sends, swallows a cancellation that
    comes in the turn of its answer. What is half open then is closed by who closes the rest, outside of the body.
    """
    task, cancellations = asyncio.current_task(), 0
    assert task is not None  # noqa: S101 - we are in a coroutine

    async def watch() -> None:
        nonlocal cancellations
        await stop.wait()
        while True:
            task.cancel()
            cancellations += 1
            await asyncio.sleep(_CANCEL_EVERY)

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if task.cancelling() != cancellations or not cancellations:
            raise  # somebody else's
    finally:
        watching.cancel()
        for _ in range(cancellations):
            task.uncancel()


def ignore(loop: asyncio.AbstractEventLoop) -> None:
    """Have them do nothing any more: for a program that has done all that it had to.

    A loop that closes gives them back their defaults, and one that comes then would make a failure of a program that has drained.
    """
    for number in OURS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


async def to_the_end(program: Awaitable[Result]) -> Result:
    """Run it, and `ignore` signals from then on. What it raises is raised."""
    result = await program
    ignore(asyncio.get_running_loop())
    return result
