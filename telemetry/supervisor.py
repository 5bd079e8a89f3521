"""The owner of what must not end: every long-lived task is started here, watched, and started again.

A loop that returns, raises, is cancelled by anybody but its owner, or shows no sign of life for its patience, has failed: that is
logged, counted in `headrace_task_restarts_total`, and it begins again after a jittered pause. `/livez` shows what keeps failing;
after MOST_FAILURES in a row the program ends with a reason, and its orchestrator starts it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from core.chance import Chance, SystemChance
from telemetry import logs, metrics

_log = logs.get("supervisor")

Beat = Callable[[], None]
Work = Callable[[Beat], Awaitable[None]]

# Full jitter up to 0.1 s, 0.2 s ... 5 s.
FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
# A loop that ran for this number of seconds before it failed has its failures counted from 0 again.
HEALTHY_AFTER = 60.0
# Failures in a row: from the first number on `/livez` fails, at the second the program ends. With the pauses: after 5 s, and 80 s.
TROUBLED_AFTER, MOST_FAILURES = 5, 20
# A loop is looked at so often within its patience; it must look dead every time. The process itself may have been stopped
# meanwhile, or the machine: then one look comes late, but not four.
_LOOKS = 4
# How long a cancelled task may take to end before it is left behind.
_LEFT_BEHIND_AFTER = 5.0


class Supervised:
    """One loop that must not end. wrong: why it does not do its work now, or None."""

    def __init__(self, owner: Supervisor, name: str, work: Work, patience: float | None) -> None:
        self.name = name
        self.failures = 0
        self.wrong: str | None = None
        self._owner = owner
        self._work = work
        self._patience = patience
        self._beats = 0
        self._stopping = False
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"supervised {name}")
        self._task.add_done_callback(self._ended)

    @property
    def running(self) -> bool:
        return not self._task.done()

    async def stop(self) -> None:
        """End it: at most some 5 s, whatever it does with its cancellation."""
        self._stopping = True
        if self._task is not asyncio.current_task():
            await cancelled(self._task)
        self._owner.loops.pop(self, None)

    def _beat(self) -> None:
        self._beats += 1
        if self.wrong is not None:
            self.wrong = None
            _log.info("a task works again", task=self.name)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            child = loop.create_task(self._owner.around(self.name, _guarded(self._work, self._beat)), name=self.name)
            try:
                why = await self._watch(child)
            finally:
                await cancelled(child)
            if self._stopping:
                return
            self._failed(why, child, loop.time() - began)
            await asyncio.sleep(self._owner.chance.uniform(0.0, min(FIRST_PAUSE * 2.0**self.failures, LAST_PAUSE)))

    async def _watch(self, child: asyncio.Task[None]) -> str:
        """Wait until it fails; says how."""
        seen, misses = self._beats, 0
        while True:
            await asyncio.wait({child}, timeout=None if self._patience is None else self._patience / _LOOKS)
            if child.done():
                return _how(child)
            misses = misses + 1 if self._beats == seen else 0
            seen = self._beats
            if misses == _LOOKS:
                return f"no sign of life for {self._patience:g} s"

    def _failed(self, why: str, child: asyncio.Task[None], lasted: float) -> None:
        self.failures = 1 if lasted > HEALTHY_AFTER else self.failures + 1
        self.wrong = f"{self.name}: {why}"
        metrics.TASK_RESTARTS.labels(self.name).inc()
        error = child.exception() if child.done() and not child.cancelled() else None
        said = "a task that must not end has failed; it begins again"
        _log.error(said, task=self.name, why=why, in_a_row=self.failures, exc_info=error)
        if self.failures == MOST_FAILURES:
            self._owner.give_up(f"{self.wrong}, {self.failures} times in a row")

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Only `stop` may end the keeper itself."""
        if not self._stopping:
            self.wrong = f"{self.name}: its keeper was ended"
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a keeper has failed", task=self.name, exc_info=error)


class Supervisor:
    """Owns the loops of a program, or of a part of it.

    give_up: called with the reason when a loop keeps failing; the program then ends.
    around: wraps each run of a loop; tests put faults into it there.
    """

    def __init__(
        self,
        *,
        chance: Chance | None = None,
        give_up: Callable[[str], None] | None = None,
        around: Callable[[str, Coroutine[Any, Any, None]], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.chance = chance or SystemChance()
        self.give_up = give_up or (lambda reason: _log.critical("a task cannot be kept running", why=reason))
        self.around = around or (lambda _, run: run)
        self.loops: dict[Supervised, None] = {}
        self._short: set[asyncio.Task[Any]] = set()

    def start(self, name: str, work: Work, *, patience: float | None = 30.0) -> Supervised:
        """Begin a loop. work: called with `beat`, which it calls at least every `patience` seconds (None: it shows no life)."""
        one = Supervised(self, name, work, patience)
        self.loops[one] = None
        return one

    def once(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A short task that no caller waits for: kept from the garbage collector, and its error is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._short.add(task)
        task.add_done_callback(self._once_ended)
        return task

    @property
    def wrong(self) -> list[str]:
        """The loops that keep failing, for `/livez`."""
        return [one.wrong for one in self.loops if one.wrong is not None and (one.failures >= TROUBLED_AFTER or not one.running)]

    async def close(self) -> None:
        """End all, each within some 5 s."""
        await asyncio.gather(*(one.stop() for one in list(self.loops)))
        await asyncio.gather(*(cancelled(task) for task in list(self._short)))

    def _once_ended(self, task: asyncio.Task[Any]) -> None:
        self._short.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task has failed", task=task.get_name(), exc_info=error)


async def cancelled(task: asyncio.Future[Any]) -> bool:
    """Cancel a task of ours and see it end; False if it did not within 5 s.

    A library may answer a cancellation with an error of its own, or swallow it (`asyncio.wait_for` of Python 3.11 does when both
    happen at once), so one `cancel()` can be lost.
    """
    for _ in range(5):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=_LEFT_BEHIND_AFTER / 5)
    if not task.done():
        _log.error("a task did not end when it was cancelled", task=repr(task))
        return False
    if not task.cancelled():
        task.exception()  # seen: it was to end
    return True


async def _guarded(work: Work, beat: Beat) -> None:
    """SystemExit and KeyboardInterrupt in a task would end the event loop, past every handler."""
    try:
        await work(beat)
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__} in a task") from error


def _how(child: asyncio.Task[None]) -> str:
    if child.cancelled():
        return "cancelled, and not by us"
    error = child.exception()
    return "it has ended" if error is None else f"{type(error).__name__}: {logs.brief(error)}"
