"""Puts a fault into one await of a coroutine, the n-th, without knowing what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

Fault = Callable[[], BaseException]


class Hang:
    """In the place of an error: the await never ends."""


FAULTS: dict[str, BaseException | Hang] = {
    "an error": Exception("put here by a test"),
    "a cancellation": asyncio.CancelledError(),
    "a timeout": TimeoutError(),
    "a hang": Hang(),
}


class Stepped:
    """Awaits `run` up to its n-th suspension (0 is the first), and puts `fault` there, once."""

    def __init__(self, run: Coroutine[Any, Any, None], number: int, fault: BaseException | Hang) -> None:
        self._run = run
        self._number = number
        self._fault = fault
        self.reached = False

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield from self._steps()
        finally:
            self._run.close()

    def _steps(self) -> Generator[Any, Any, None]:
        step: Callable[[], Any] = lambda: self._run.send(None)  # noqa: E731 - it changes with each step
        count = 0
        while True:
            try:
                waited_for = step()
            except StopIteration:
                return
            if count == self._number and not self.reached:
                self.reached = True
                if waited_for is not None:
                    waited_for._asyncio_future_blocking = False
                if isinstance(self._fault, Hang):
                    yield from asyncio.get_running_loop().create_future().__await__()
                error = self._fault
                step = lambda: self._run.throw(error)  # type: ignore[arg-type]  # noqa: E731, B023 - a hang has not come here
                count += 1
                continue
            count += 1
            try:
                yield waited_for
            except BaseException as thrown:  # a cancellation by the task that awaits us
                step = lambda thrown=thrown: self._run.throw(thrown)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda: self._run.send(None)  # noqa: E731
