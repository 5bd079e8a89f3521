"""Writes the journal in the background, so that a store that is slow or away delays no decision."""

from __future__ import annotations

import asyncio
import random
from collections import deque

from core.errors import StoreUnavailable
from core.journal import Journal, ScalingRecord
from telemetry import logs
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("autoscaler.journal")

# Records that wait for a store that is unavailable: some minutes of a few queues; older ones are dropped.
MOST_WAITING = 2000
WRITE_SECONDS = 1.0
# How often what was learned is saved: a restart then finds it a few seconds old.
SAVE_SECONDS = 10.0
# A write takes bounded time; the end of the program waits for one that has begun, but not longer than this.
_END_SECONDS = 10.0


class Recorder:
    """Without a journal (`none:`) everything is forgotten."""

    def __init__(self, journal: Journal | None, supervisor: Supervisor | None = None) -> None:
        """supervisor: the program's, which keeps the writer running."""
        self._journal = journal
        self._waiting: deque[ScalingRecord] = deque(maxlen=MOST_WAITING)
        self._states: dict[str, str] = {}
        self._supervisor = supervisor or Supervisor()
        self._writer: Supervised | None = None
        self._writing = asyncio.Lock()
        self._saved_before = 0.0  # seconds since what was learned was saved
        self._away = False

    async def open(self) -> None:
        if self._journal is None:
            return
        try:
            await self._journal.open()
        except StoreUnavailable as error:
            self._complain(error)
        self._writer = self._supervisor.start("journal", self._write_forever)

    async def close(self) -> None:
        if self._journal is None or self._writer is None:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._writing.acquire()  # a write that has begun is ended: cancelled, it might be written or not
        except TimeoutError:
            _log.warning("a write of the journal does not end; left behind")
            await self._writer.stop()
        else:
            await self._writer.stop()
            self._writing.release()
            await self._write(with_states=True)
        await self._journal.close()

    def note(self, record: ScalingRecord, state: str) -> None:
        """Remember a decision, and what the next controller should know."""
        if self._journal is not None:
            self._waiting.append(record)
            self._states[record.queue] = state

    async def recall(self, queue: str) -> tuple[str, float] | None:
        """The state that was saved for a queue, and how many seconds ago. Raises StoreUnavailable."""
        return None if self._journal is None else await self._journal.recall(queue)

    async def _write_forever(self, beat: Beat) -> None:
        pause = WRITE_SECONDS * random.uniform(0.8, 1.2)
        while True:
            await asyncio.sleep(pause)
            self._saved_before += pause
            due = self._saved_before >= SAVE_SECONDS
            if await self._write(with_states=due) and due:
                self._saved_before = 0.0
            beat()

    async def _write(self, *, with_states: bool) -> bool:
        async with self._writing:
            return await self._write_alone(with_states=with_states)

    async def _write_alone(self, *, with_states: bool) -> bool:
        assert self._journal is not None  # noqa: S101 - looked at by those who call
        records, self._waiting = list(self._waiting), deque(maxlen=MOST_WAITING)
        try:
            if self._away:
                await self._journal.open()
            if records:
                await self._journal.append(records)
                records = []
            if with_states and self._states:
                await self._journal.remember(self._states)
        except BaseException as error:  # also a cancellation of a write that hangs: its records are written by the next one
            self._waiting = deque([*records, *self._waiting], maxlen=MOST_WAITING)
            if not isinstance(error, StoreUnavailable):
                raise
            self._complain(error)
            return False
        self._away = False
        return True

    def _complain(self, error: StoreUnavailable) -> None:
        if not self._away:
            _log.warning("the journal is away; decisions go on without it", why=str(error))
        self._away = True
