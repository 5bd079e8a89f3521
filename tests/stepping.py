"""Drives a coroutine step by step, and puts a fault in the place of one of its awaits."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

Fault = Callable[[], BaseException | None]  # None: this await never ends

FAULTS: dict[str, Fault] = {
    "Exception": lambda: Exception("put in by the test"),
    "CancelledError": asyncio.CancelledError,
    "TimeoutError": TimeoutError,
    "hang": lambda: None,
}


Place = tuple[tuple[str, int], ...]  # the lines at which a run waits, from the outermost in


class Stepping:
    """For `Supervisor(around=…)`: in the first run of the loop called `name`, the await number `at` meets `fault`.

    met: whether the run came so far. runs: of that loop. places: by loop, the number of the first await at each place.
    """

    def __init__(self, name: str = "", at: int = 0, fault: Fault = lambda: None) -> None:
        self._name, self._at, self._fault = name, at, fault
        self.met = False
        self.runs = 0
        self.places: dict[str, dict[Place, int]] = {}

    def __call__(self, name: str, run: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        if name == self._name:
            self.runs += 1
        if self._name and (name != self._name or self.runs > 1):
            return run
        return _as_coroutine(self._stepped(run, self.places.setdefault(name, {})))

    @types.coroutine
    def _stepped(self, run: Coroutine[Any, Any, None], places: dict[Place, int]) -> Generator[Any, Any, None]:
        sent: Any = None
        error: BaseException | None = None
        count = 0
        while True:
            try:
                waiting = run.send(sent) if error is None else run.throw(error)
            except StopIteration:
                return
            sent = error = None
            count += 1
            places.setdefault(_place(run), count)
            try:
                if count == self._at:
                    self.met = True
                    if waiting is not None:
                        waiting._asyncio_future_blocking = False  # no task waits for it any more
                    error = self._fault()
                    if error is None:
                        yield from asyncio.Event().wait().__await__()
                    continue
                sent = yield waiting
            except BaseException as thrown:
                error = thrown


async def _as_coroutine(generator: Any) -> None:
    await generator


def _place(run: Any) -> Place:
    lines = []
    while run is not None and (frame := _of(run, "cr_frame", "gi_frame", "ag_frame")):
        lines.append((frame.f_code.co_filename, frame.f_lineno))
        run = _of(run, "cr_await", "gi_yieldfrom", "ag_await")
    return tuple(lines)


def _of(run: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(run, name, None)) is not None), None)
