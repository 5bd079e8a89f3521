"""A process for one delivery: it takes one, settles it, and ends. For jobs of hours: nothing ever takes such a process away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from telemetry import logs
from telemetry.supervisor import Beat, Supervisor

_log = logs.get("consumer.once")

# Seconds between two looks at whether a delivery could have come.
_LOOK = 0.1
# A controller polls the figures every second or so. The last ones, which count the delivery that has ended, are kept for its poll
# for this number of seconds.
_TOLD_WITHIN = 3.0


class Queue(Protocol):
    """A queue of this process."""

    @property
    def subscribed(self) -> bool: ...

    async def finish(self) -> None:
        """Ask for no other delivery; deliveries that were given stay."""

    def go_on(self) -> None:
        """Let the delivery that was taken begin, and requeue those that came beside it."""


class Once:
    """Lets one delivery of all queues of the process through. closed: no queue gives another one.

    The others are not asked for: the run begins when it is closed, so that a short run is followed by none. A delivery that was on
    its way by then, from another of its queues, is requeued.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        """supervisor: the program's."""
        self._supervisor = supervisor
        self._queues: list[Queue] = []
        self._taken = False  # nothing is let through any more
        self.closed = False  # and no queue gives another one
        self._settled = asyncio.Event()
        self._asked_for_figures = False
        self._told = asyncio.Event()

    def add(self, queue: Queue) -> None:
        self._queues.append(queue)

    def take(self) -> bool:
        """Whether this delivery is the one."""
        if self._taken:
            return False
        self._taken = True
        self._supervisor.once("end of the subscriptions", self._finish())
        return True

    def settled(self) -> None:
        """The one is settled, or handed back."""
        self._settled.set()

    def figures_were_read(self) -> None:
        self._asked_for_figures = True
        if self._settled.is_set():
            self._told.set()

    async def watch(self, beat: Beat, wait: float, end: Callable[[], None]) -> None:
        """Call `end` once the delivery is settled, or none came in `wait` seconds in which one could have. For a Supervisor."""
        left = wait
        while not self._taken and left > 0:
            await asyncio.sleep(_LOOK)
            beat()
            left -= _LOOK * all(queue.subscribed for queue in self._queues)
        if self._taken:
            await self._settled.wait()
            await self._let_it_be_told()
        else:
            self._taken = True
            _log.info("there was no delivery: ending", waited_s=wait)
            await self._finish()
        end()
        await asyncio.Event().wait()  # until the program has ended

    async def _let_it_be_told(self) -> None:
        """Without a poll so far, none will come."""
        if self._asked_for_figures:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TOLD_WITHIN):
                    await self._told.wait()

    async def _finish(self) -> None:
        await asyncio.gather(*(queue.finish() for queue in self._queues))
        self.closed = True
        for queue in self._queues:
            queue.go_on()
