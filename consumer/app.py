"""The consumer program: opens everything in order, runs, and closes it in the opposite order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from consumer.ledger import Ledger
from consumer.liveness import Liveness
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from jobs.adapters import choose
from jobs.clock import SystemClock
from jobs.errors import SettingsError, StoreUnavailable
from jobs.figures import to_plain
from jobs.ports import Broker, OutcomeStore
from telemetry import eventloop, logs, metrics
from telemetry.probes import Probes

_log = logs.get("consumer")

_PURGE_INTERVAL = 60.0  # seconds between two bounded batches of what is past its retention


class Consumer:
    """One process that consumes some queues."""

    def __init__(self, settings: ConsumerSettings, registry: Registry, queues: Sequence[str]) -> None:
        self._settings = settings
        self._registry = registry
        self._names = list(queues)
        self._stop = asyncio.Event()
        self._ready = False

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then drain. A second signal ends the process at once."""
        self._listen_to_signals()
        clock = SystemClock()
        broker = choose.broker(self._settings, self._registry.catalogue.topology(), clock)
        store = choose.outcomes(self._settings, clock)
        ledger = Ledger(store, lease=self._settings.lease, give_up=self._settings.hold_seconds) if store else None
        threads = self._threads()
        async with Resources(self._registry.openers, self._registry.needs(self._names)) as resources:
            tools = Tools(self._settings, self._registry, resources, threads, clock)
            runtimes = [QueueRuntime(name, broker, ledger, tools) for name in self._names]
            liveness = Liveness(runtimes, self._settings.stall_seconds)
            probes = Probes(
                self._settings.probe_host,
                self._settings.probe_port,
                lambda: [f"{queue}: messages are ready, and none arrives" for queue in liveness.stalled],
                lambda: self._not_ready(runtimes, broker),
                {"/figures": lambda: to_plain({runtime.queue: runtime.figures() for runtime in runtimes})},
            )
            probes.open()
            await self._open(broker, ledger, runtimes)
            background = [asyncio.create_task(work) for work in (liveness.watch(), eventloop.watch(), _purge(store))]
            await self._stop.wait()
            self._ready = False
            _log.info("draining", seconds=self._settings.drain_seconds)
            await asyncio.gather(*(runtime.drain(self._settings.drain_seconds) for runtime in runtimes))
            for task in background:
                task.cancel()
            await broker.close()
            if ledger is not None:
                await ledger.close()
            await probes.close()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        _log.info("stopped")

    async def _open(self, broker: Broker, ledger: Ledger | None, runtimes: Sequence[QueueRuntime]) -> None:
        if ledger is not None:
            await ledger.open()
        await broker.open()
        for runtime in runtimes:
            await runtime.start()
        self._ready = True
        _log.info("consuming", queues=self._names, concurrency=self._settings.concurrency)

    def _not_ready(self, runtimes: Sequence[QueueRuntime], broker: Broker) -> list[str]:
        if not self._ready:
            return ["starting or stopping"]
        reason = broker.unready()
        metrics.BROKER_UP.set(0 if reason else 1)
        reasons = [f"broker: {reason}"] if reason else []
        reasons += [f"{r.queue}: paused, the outcome store is away" for r in runtimes if r.paused]
        return reasons + [f"{r.queue}: not subscribed" for r in runtimes if not r.paused and not r.subscribed]

    def _threads(self) -> ThreadPoolExecutor | None:
        plain = any(not h.is_coroutine for h in self._registry.handlers(self._names))
        most = min(self._settings.concurrency * len(self._names), 256)
        return ThreadPoolExecutor(most, thread_name_prefix="handler") if plain else None

    def _listen_to_signals(self) -> None:
        def stop() -> None:
            if self._stop.is_set():
                os._exit(1)
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)


def check_limits(settings: ConsumerSettings, registry: Registry, queues: Sequence[str]) -> None:
    """Refuse a time limit that the broker's own consumer timeout would cut short.

    A delivery waits in our hands for at most prefetch / concurrency - 1 runs before its own begins.
    """
    if not settings.broker.get_secret_value().startswith("amqp"):
        return
    rounds = settings.held_at_most / settings.concurrency
    limit, job_type = registry.longest_limit(queues)
    if limit * rounds > settings.hold_seconds:
        raise SettingsError(
            f"{job_type}: a time limit of {limit:g} s needs {limit * rounds:g} s at prefetch {rounds:g} times concurrency; "
            f"only four fifths of HEADRACE_CONSUMER_TIMEOUT={settings.consumer_timeout:g} s may pass. Raise consumer_timeout in "
            f"the broker's configuration (there in milliseconds) and HEADRACE_CONSUMER_TIMEOUT with it, or lower the time limit or "
            f"HEADRACE_PREFETCH"
        )


async def _purge(store: OutcomeStore | None) -> None:
    """Delete what is past its retention: batches, each bounded, until none is left."""
    while store is not None:
        await asyncio.sleep(_PURGE_INTERVAL)
        with contextlib.suppress(StoreUnavailable):  # the next round does it
            while await store.purge():
                pass
