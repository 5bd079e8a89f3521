"""An event loop of virtual time, in which programs can be killed, stopped and started at any await.

Everything that runs belongs to a program, which the context variable `PROGRAM` names. A task of a dead program never runs
again, not even its `finally`; a task of a stopped one waits until it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVarTuple

_Ts = TypeVarTuple("_Ts")

# A schedule takes some 10,000 turns of the loop.
MOST_TURNS = 300_000


class Program:
    """One process. killed: it never runs again; stopped: not now (SIGSTOP)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.killed = False
        self.stopped = False
        self.tasks: dict[Any, None] = {}
        self._waiting: list[events.Handle] = []

    def run(self, loop: VirtualLoop, make: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """A task of this program."""
        context = Context()
        context.run(PROGRAM.set, self)
        return context.run(lambda: loop.create_task(make()))

    def stop(self) -> None:
        self.stopped = True

    def go_on(self, loop: VirtualLoop) -> None:
        self.stopped = False
        waiting, self._waiting = self._waiting, []
        for handle in waiting:
            loop.again(handle)

    def waits(self, handle: events.Handle) -> None:
        self._waiting.append(handle)


PROGRAM: ContextVar[Program | None] = ContextVar("PROGRAM", default=None)


class _Handle(events.Handle):
    def _run(self) -> None:
        if may_run(self):
            super()._run()


class _TimerHandle(events.TimerHandle):
    def _run(self) -> None:
        if may_run(self):
            super()._run()


def may_run(handle: Any) -> bool:
    program = handle._context.get(PROGRAM)
    if program is None:
        return True
    if program.stopped and not program.killed:
        program.waits(handle)
        return False
    return not program.killed


class _Numbered:
    """A hash by order of making: that of an object is its address, and a set would be walked in another order each time."""

    _numbers = itertools.count()
    _number: int

    @staticmethod
    def begin() -> None:
        """From 0 in each loop: where in a set a number comes depends on its size, too."""
        _Numbered._numbers = itertools.count()

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:
            self._number = next(_Numbered._numbers)
            return self._number


class _Task(_Numbered, asyncio.Task):  # type: ignore[type-arg]  # it is generic for type checkers only
    pass


class _Future(_Numbered, asyncio.Future):  # type: ignore[type-arg]  # as above
    pass


class _Clockwork:
    """Stands in for a selector: nothing comes from outside, so that waiting is only time that passes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise RuntimeError(f"it goes round and round, {MOST_TURNS} turns so far")
        if timeout is None:
            raise RuntimeError("everything waits for something that will not come")
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Time passes when nothing is left to do, at once."""

    def __init__(self) -> None:
        super().__init__()
        _Numbered.begin()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = _Clockwork(self)
        self.set_task_factory(_task)

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        # To the very moment of the next timer: a sum would fall short of it by a rounding.
        due = self._scheduled[0].when() if self._scheduled else self._now + seconds  # type: ignore[attr-defined]  # private to asyncio
        self._now = max(self._now, min(due, self._now + seconds + 1e-6))

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def call_soon(self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> events.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]  # as above
        return handle

    call_soon_threadsafe = call_soon  # there is one thread

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> events.TimerHandle:
        timer = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]  # as above
        timer._scheduled = True  # type: ignore[attr-defined]  # as above
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> events.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def again(self, handle: events.Handle) -> None:
        self._ready.append(handle)  # type: ignore[attr-defined]  # as above

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """No task sleeps that would have to be woken."""


def _task(loop: Any, coroutine: Any, **options: Any) -> Any:
    task = _Task(coroutine, loop=loop, **options)
    program = PROGRAM.get()
    if program is not None:
        # Kept, or a task that was frozen with its program would be collected, and its `finally` run.
        program.tasks[task] = None
        task.add_done_callback(lambda done: program.tasks.pop(done, None))
    return task


def abandon(program: Program) -> None:
    """Let go of what a program left behind, after the loop has ended."""
    for task in list(program.tasks):
        task._log_destroy_pending = False
        with contextlib.suppress(BaseException):
            task.get_coro().close()
    program.tasks.clear()
