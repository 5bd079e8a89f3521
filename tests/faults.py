"""Faults at every await of every loop of a supervisor: whatever a library does to a loop, service must resume.

A loop's run is stepped by hand. A place is the chain of our own lines at which a run waits; at a place that is armed, the run is
given an error in the place of its answer, or no answer at all. New loops and new awaits are found by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from core.chance import SystemChance
from telemetry.supervisor import Supervised, Supervisor, Work

_ROOT = str(Path(__file__).parent.parent)
_LIBRARIES = str(Path(asyncio.__file__).parent), "site-packages"

Place = tuple[str, ...]
Kind = type[BaseException] | None  # None hangs

# How long a stir may work on, in seconds.
SETTLE = 1.5
KINDS: tuple[Kind, ...] = (Exception, asyncio.CancelledError, TimeoutError, None)


class Soon(SystemChance):
    """Draws the shortest pause each time."""

    def __init__(self) -> None:
        super().__init__()
        self.uniform = lambda low, high: low  # type: ignore[assignment]  # its parameters have other names


class Faults(Supervisor):
    """A supervisor whose loops can be struck. patience: the most that a loop is given, so that one that hangs is seen soon."""

    def __init__(self, patience: float = 2.0) -> None:
        super().__init__(chance=Soon(), give_up=lambda _: None, around=self._stepped)
        self._patience = patience
        self._armed: dict[str, Place] = {}
        self._kind: Kind = None
        self.seen: dict[str, dict[Place, None]] = {}

    def start(self, name: str, work: Work, *, patience: float | None = 30.0) -> Supervised:
        return super().start(name, work, patience=min(patience or self._patience, self._patience))

    def arm(self, kind: Kind, places: dict[str, Place]) -> None:
        """Strike each of these loops once, at its place."""
        self._kind, self._armed = kind, dict(places)

    @property
    def armed(self) -> dict[str, Place]:
        """The faults that have not been struck yet."""
        return self._armed

    async def _stepped(self, name: str, run: Coroutine[Any, Any, None]) -> None:
        await _Steps(self, name, run)

    def struck(self, name: str, place: Place) -> bool:
        """Note that a run waits here; whether it is struck now."""
        self.seen.setdefault(name, {})[place] = None
        if self._armed.get(name) != place:
            return False
        del self._armed[name]
        return True

    @property
    def kind(self) -> Kind:
        return self._kind


class _Steps:
    """Awaits a run, step by step."""

    def __init__(self, faults: Faults, name: str, run: Coroutine[Any, Any, None]) -> None:
        self._faults, self._name, self._run = faults, name, run

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            try:
                waits_for = self._run.send(None) if error is None else self._run.throw(error)
            except StopIteration:
                return
            struck = self._faults.struck(self._name, _place(self._run))
            try:
                if not struck:
                    yield waits_for
                    error = None
                    continue
                if asyncio.isfuture(waits_for):
                    waits_for._asyncio_future_blocking = False  # no task waits for it any more
                if self._faults.kind is None:
                    yield from asyncio.get_running_loop().create_future()
                else:
                    error = self._faults.kind("put in by a test")
            except BaseException as given:  # handed on into the run
                error = given


async def quiet(within: float = 5.0) -> None:
    """Wait until a library's own tasks have ended, so that the event loop is not closed under them."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.05)


async def _until_struck(faults: Faults) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE):
            while faults.armed:
                await asyncio.sleep(0.02)


def _place(run: Any) -> Place:
    lines = []
    while run is not None:
        frame = getattr(run, "cr_frame", None) or getattr(run, "gi_frame", None)
        if frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(_ROOT) and not any(library in file for library in _LIBRARIES):
                lines.append(f"{Path(file).name}:{frame.f_lineno}")
        run = getattr(run, "cr_await", None) or getattr(run, "gi_yieldfrom", None)
    return tuple(lines)


async def strike_everywhere(
    faults: Faults, kind: Kind, stir: Callable[[], Awaitable[None]], works: Callable[[], Awaitable[None]], within: float = 20.0
) -> dict[str, list[Place]]:
    """Strike every loop at every place, one place of each loop at a time.

    stir: makes the loops do all that they can do, within SETTLE. works: returns when service has resumed. Returns the places that
    no stirring led to; fails the test where service does not resume within `within` seconds.
    """
    for _ in range(2):  # which places there are
        await stir()
        await asyncio.sleep(SETTLE)
        await asyncio.wait_for(works(), within)
    left = {name: list(places) for name, places in faults.seen.items()}
    missed: dict[str, list[Place]] = {}
    while any(left.values()):
        round_ = {name: places.pop() for name, places in left.items() if places}
        faults.arm(kind, round_)
        for _ in range(3):
            await stir()
            await _until_struck(faults)
            try:
                await asyncio.wait_for(works(), within)
            except TimeoutError:
                raise AssertionError(f"service has not resumed after {kind} at {round_}; not struck yet: {faults.armed}") from None
            if not faults.armed:
                break
        for name, place in faults.armed.items():
            missed.setdefault(name, []).append(place)
        faults.arm(kind, {})
    return missed
