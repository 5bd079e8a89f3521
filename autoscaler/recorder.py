"""Writes the journal in the background, so that a store that is slow or away delays no decision."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque

from jobs.errors import StoreUnavailable
from jobs.journal import Journal, ScalingRecord
from telemetry import logs

_log = logs.get("autoscaler.journal")

# Records that wait for a store that is away: some minutes of a few queues; older ones are dropped.
MOST_WAITING = 2000
WRITE_SECONDS = 1.0
# How often what was learned is saved: a restart then finds it a few seconds old.
SAVE_SECONDS = 10.0


class Recorder:
    """Without a journal (`none:`) everything is forgotten."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._waiting: deque[ScalingRecord] = deque(maxlen=MOST_WAITING)
        self._states: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self._closing = asyncio.Event()

    async def open(self) -> None:
        if self._journal is None:
            return
        try:
            await self._journal.open()
        except StoreUnavailable as error:
            self._complain(error)
        self._task = asyncio.create_task(self._write_forever())

    async def close(self) -> None:
        if self._journal is None or self._task is None:
            return
        self._closing.set()  # a write that has begun is ended, which takes bounded time: cancelled, it might be written or not
        await asyncio.gather(self._task, return_exceptions=True)
        await self._write(with_states=True)
        await self._journal.close()

    def note(self, record: ScalingRecord, state: str) -> None:
        """Remember a decision, and what the next controller should know."""
        if self._journal is not None:
            self._waiting.append(record)
            self._states[record.queue] = state

    async def recall(self, queue: str) -> tuple[str, float] | None:
        """What was saved for a queue, and how many seconds ago. Raises StoreUnavailable."""
        return None if self._journal is None else await self._journal.recall(queue)

    async def _write_forever(self) -> None:
        since_saved = 0.0
        pause = WRITE_SECONDS * random.uniform(0.8, 1.2)
        while not await self._closing_within(pause):
            since_saved += pause
            if await self._write(with_states=since_saved >= SAVE_SECONDS) and since_saved >= SAVE_SECONDS:
                since_saved = 0.0

    async def _closing_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        return self._closing.is_set()

    async def _write(self, *, with_states: bool) -> bool:
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
        except StoreUnavailable as error:
            self._complain(error)
            self._waiting = deque([*records, *self._waiting], maxlen=MOST_WAITING)
            return False
        self._away = False
        return True

    def _complain(self, error: StoreUnavailable) -> None:
        if not self._away:
            _log.warning("the journal is away; decisions go on without it", why=str(error))
        self._away = True
