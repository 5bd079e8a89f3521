"""SIGTERM and SIGINT: the first asks for a drain, a later one for the end at once. The end of the parent asks for a drain alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

# One wish may come as several signals: a terminal's Ctrl-C may reach a process both directly and through what keeps it. Nobody asks
# twice within a second.
REPEATED_WITHIN = 1.0
# What Linux sends to a process when the one that keeps it dies, once for each thread of that one, some 3 ms apart. It is a signal
# of its own: the keeper may have asked for a drain long before, and its end must not cut that short.
PARENT_DIED = signal.SIGUSR2
_ASKED = (signal.SIGTERM, signal.SIGINT)
OURS = (*_ASKED, PARENT_DIED)

Result = TypeVar("Result")


def listen(stop: Callable[[], None], end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Call `stop` at the first SIGTERM or SIGINT, and `end` at one that comes a second or more later.

    A program that stops for a reason of its own has not had its first signal.
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

    for number in _ASKED:
        loop.add_signal_handler(number, signalled)
    loop.add_signal_handler(PARENT_DIED, orphaned)


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
