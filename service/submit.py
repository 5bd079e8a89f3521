"""The use case "submit a job": requests that arrive together are published, recorded and confirmed together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from core.clock import Clock
from core.coalesce import Coalescer
from core.errors import BadRecord, BrokerError, BrokerUnavailable, StoreUnavailable, WindowFull
from core.ports import Broker, Message, OutcomeStore, Queued
from service.health import StoreHealth
from service.settings import GatewaySettings
from telemetry import logs, metrics
from telemetry.supervisor import Supervisor

_log = logs.get("service.submit")

# Store commands of windows that may be under way. A store that hangs costs this many windows their `queued` records at a
# time, and nothing else: the records of further windows are dropped, counted, and written later by the claim.
MOST_RECORDING = 4
MOST_IN_WINDOW = 512


class _Window:
    """The submits that arrived in one turn of the loop."""

    __slots__ = ("futures", "messages", "recorded", "records", "waiting")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.records: list[Queued] = []
        self.futures: list[asyncio.Future[None]] = []
        self.recorded = False
        self.waiting: list[asyncio.Future[None]] = []

    def confirmed(self, future: asyncio.Future[None]) -> None:
        """The broker has this one: answer now, or when the window is recorded."""
        if not self.recorded:
            self.waiting.append(future)
        elif not future.done():
            future.set_result(None)

    def release(self) -> None:
        """The window is recorded, or has been waited for long enough."""
        self.recorded = True
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()


class Submitter:
    """Owns the open window. `submit` gives one future a job, done when the job is durable."""

    def __init__(
        self,
        broker: Broker,
        store: OutcomeStore | None,
        settings: GatewaySettings,
        clock: Clock,
        supervisor: Supervisor | None = None,
        health: StoreHealth | None = None,
    ) -> None:
        """supervisor: the program's, which owns the writing of records. health: receives the state of the store."""
        self._broker = broker
        self._store = store
        self._supervisor = supervisor or Supervisor()
        self._health = health or StoreHealth(store)
        self._most = settings.max_unconfirmed
        self._most_bytes = settings.max_unconfirmed_bytes
        self._record_wait = settings.record_wait
        self._clock = clock
        self._open: _Window | None = None
        self._unconfirmed = 0
        self._bytes = 0  # of the bodies that wait for the broker's confirm
        self._recording: set[asyncio.Task[None]] = set()
        self._doubts: Coalescer[Queued, None] = Coalescer(self._doubt, in_flight=1)
        metrics.JOBS_UNCONFIRMED.set_function(lambda: self._unconfirmed)

    def submit(self, message: Message, record: Queued) -> asyncio.Future[None]:
        """Put a job into the open window. The future fails with a BrokerError: not confirmed. Raises WindowFull."""
        if self._unconfirmed >= self._most:
            raise WindowFull(f"{self._unconfirmed} jobs wait for the broker's confirm already")
        if self._bytes >= self._most_bytes:
            raise WindowFull(f"{self._bytes} bytes of jobs wait for the broker's confirm already")
        loop = asyncio.get_running_loop()
        window = self._open
        if window is None:
            window = self._open = _Window()
            loop.call_soon(self._flush)
        future: asyncio.Future[None] = loop.create_future()
        window.messages.append(message)
        window.records.append(record)
        window.futures.append(future)
        self._unconfirmed += 1
        self._bytes += len(message.body)
        if len(window.messages) >= MOST_IN_WINDOW:
            self._flush()
        return future

    async def drain(self, seconds: float) -> None:
        """Wait until the records under way are written, at most `seconds`."""
        if self._recording:
            await asyncio.wait(self._recording, timeout=seconds)

    def _flush(self) -> None:
        window, self._open = self._open, None
        if window is None:
            return
        metrics.PUBLISH_WINDOW.observe(len(window.messages))
        self._record(window)
        began = self._clock.steady()
        for number, confirm in enumerate(self._published(window.messages)):
            confirm.add_done_callback(lambda done, n=number: self._confirmed(window, n, done, began))  # type: ignore[misc]

    def _published(self, messages: Sequence[Message]) -> list[asyncio.Future[None]]:
        """An adapter that raises fails its window. Without this, the requests that wait for it would have no answer."""
        try:
            return self._broker.publish(messages)
        except Exception as error:
            _log.error("a window could not be handed to the broker", jobs=len(messages), exc_info=error)
            futures: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in messages]
            for future in futures:
                future.set_exception(BrokerUnavailable(f"{type(error).__name__} at the broker's adapter; nothing was sent"))
            return futures

    def _confirmed(self, window: _Window, number: int, done: asyncio.Future[None], began: float) -> None:
        self._unconfirmed -= 1
        self._bytes -= len(window.messages[number].body)
        future, error = window.futures[number], BrokerUnavailable("closing") if done.cancelled() else done.exception()
        if error is None:
            metrics.PUBLISH_SECONDS.observe(self._clock.steady() - began)
            window.confirmed(future)
            return
        if self._store is not None:
            self._doubts.ask(window.records[number]).add_done_callback(_ignore)
        if not future.done():
            future.set_exception(error if isinstance(error, BrokerError) else BrokerUnavailable(str(error)))
            future.exception()  # the client may be gone: the result need not be read

    def _record(self, window: _Window) -> None:
        if self._store is None:
            window.recorded = True
            return
        if len(self._recording) >= MOST_RECORDING:
            window.recorded = True
            metrics.QUEUED_RECORDS.labels("dropped").inc(len(window.records))
            return
        timer = asyncio.get_running_loop().call_later(self._record_wait, window.release)
        task = self._supervisor.once("queued records", self._write(self._store, window, timer))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def _write(self, store: OutcomeStore, window: _Window, timer: asyncio.TimerHandle) -> None:
        written = 0
        try:
            written = await _queued(store, window.records)
            self._health.saw(None)
        except StoreUnavailable as error:
            self._health.saw(error)
        finally:  # whatever it was: those who wait for the record are not kept
            metrics.QUEUED_RECORDS.labels("written").inc(written)
            metrics.QUEUED_RECORDS.labels("failed").inc(len(window.records) - written)
            timer.cancel()
            window.release()

    async def _doubt(self, records: Sequence[Queued]) -> list[None]:
        """Mark an unconfirmed publish as `unconfirmed`. Best effort: it moves forward by itself if it runs after all."""
        if self._store is not None:
            await self._store.unconfirmed(records)
        return [None] * len(records)


async def _queued(store: OutcomeStore, records: Sequence[Queued]) -> int:
    """How many were written. A record that the store cannot take is found by halving, and fails alone."""
    try:
        await store.queued(records)
    except BadRecord as error:
        if len(records) > 1:
            half = len(records) // 2
            return await _queued(store, records[:half]) + await _queued(store, records[half:])
        _log.error("a `queued` record cannot be written; the job is accepted", job_id=records[0].job_id, why=logs.brief(error))
        return 0
    return len(records)


def _ignore(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
