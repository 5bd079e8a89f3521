"""The consumer program: opens everything in order, runs, and closes it in the opposite order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from adapters import choose
from consumer.ahead import NothingAhead, asked_of, by_queue
from consumer.cordon import Cordon, seconds_of
from consumer.ledger import Ledger
from consumer.liveness import Liveness
from consumer.lost import Lost
from consumer.once import Once
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.chance import SystemChance
from core.clock import SystemClock
from core.errors import BadRecord, SettingsError, StoreUnavailable
from core.figures import to_plain
from core.ports import Broker, OutcomeStore
from core.topology import Topology
from telemetry import eventloop, logs, metrics, signals
from telemetry.probes import Probes
from telemetry.supervisor import Beat, Supervisor

_log = logs.get("consumer")

_PURGE_INTERVAL = 60.0  # seconds between two bounded batches of what is past its retention
# Jobs come first: where consumers are started since many wait, the modules of a web server are loaded when the first of them run.
# An unavailable broker is logged after this number of seconds.
_PROBES_AFTER = 0.5
# How long each part may take to close, handlers' resources included. Seconds.
_CLOSE_WITHIN = 15.0


class Consumer:
    """One process that consumes some queues.

    supervisor: owner of all that runs beside the queues; a test puts faults into it there. once: take one delivery, settle it, end.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        registry: Registry,
        queues: Sequence[str],
        supervisor: Supervisor | None = None,
        *,
        once: bool = False,
    ) -> None:
        self._settings = settings.for_one_delivery() if once else settings
        self._registry = registry
        self._names = list(queues)
        self._stop = asyncio.Event()
        self._ready = False
        self._code = 0
        self.supervisor = supervisor or Supervisor()
        self.supervisor.give_up = self._give_up
        self._once = Once(self.supervisor) if once else None

    def stop(self, code: int = 0) -> None:
        """Drain, and end with this exit code."""
        self._code = max(self._code, code)
        self._stop.set()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, then drain. One a second later ends the process at once. The exit code: 1 if we gave up."""
        signals.listen(self.stop)
        clock, topology = SystemClock(), self._registry.catalogue.topology()
        broker = choose.broker(self._settings, topology, clock, self.supervisor)
        store = choose.outcomes(self._settings, clock, self.supervisor)
        ledger = _ledger(store, self._settings, self.supervisor)
        gc.freeze()  # all is loaded. Objects that stay are not collected again, which would block the loop for tens of milliseconds
        gc.enable()
        async with AsyncExitStack() as opened:
            resources = Resources(self._registry.openers, self._registry.needs(self._names))
            opened.push_async_exit(resources)
            async with signals.unless(self._stop):
                await resources.open()
            if self._stop.is_set():
                _log.info("stopped before the start was over")
                return self._code
            tools = Tools(self._settings, self._registry, resources, threads, clock, SystemChance(), once=self._once)
            runtimes = [QueueRuntime(name, broker, ledger, tools) for name in self._names]
            lost = _lost(broker, topology, ledger, tools)
            self._warn_of_long_runs()
            liveness = Liveness(runtimes, self._settings.stall_seconds, self._give_up)
            cordon, ahead = Cordon(runtimes, self.supervisor), by_queue(runtimes, self.supervisor)
            probes = self._probes(runtimes, broker, liveness, cordon, ahead)
            self.supervisor.start("event loop", eventloop.watch)
            at_last = asyncio.get_running_loop().call_later(_PROBES_AFTER, probes.open)
            async with signals.unless(self._stop):
                await self._open(broker, ledger, runtimes, lost)
            at_last.cancel()
            probes.open()
            self.supervisor.start("liveness", liveness.watch, patience=2 * self._settings.stall_seconds + 30.0)
            if self._once is not None:
                self.supervisor.start("one delivery", self._ends_after_one, patience=None)
            if store is not None:
                self.supervisor.start("purge", lambda beat: _purge(store, beat), patience=3 * _PURGE_INTERVAL)
            await self._stop.wait()
            self._ready = False
            for leased in (cordon, *ahead.values()):
                leased.close()
            _log.info("draining", seconds=self._settings.drain_seconds)
            consuming = (*runtimes, *((lost,) if lost else ()))
            await asyncio.gather(*(one.drain(self._settings.drain_seconds) for one in consuming))
            for part in (broker.close(), *((ledger.close(),) if ledger else ()), probes.close(), self.supervisor.close()):
                await _within(part)
        _log.info("stopped")
        return self._code

    async def _ends_after_one(self, beat: Beat) -> None:
        assert self._once is not None  # noqa: S101 - asked before
        await self._once.watch(beat, self._settings.once_seconds, self.stop)

    def _warn_of_long_runs(self) -> None:
        """Not of a process for one delivery: neither scaling nor a rollout ends it."""
        drain = self._settings.drain_seconds
        for queue in self._names:
            metrics.BEYOND_DRAIN.labels(queue).set(0)
        for queue, job_type, limit in [] if self._once else beyond_drain(self._settings, self._registry, self._names):
            metrics.BEYOND_DRAIN.labels(queue).set(limit - drain)
            what = "a run may last longer than the drain: a rollout hands it back, and it begins again"
            _log.warning(what, queue=queue, job_type=job_type, time_limit_s=limit, drain_s=drain)

    def _probes(
        self,
        runtimes: Sequence[QueueRuntime],
        broker: Broker,
        liveness: Liveness,
        cordon: Cordon,
        ahead: Mapping[str, NothingAhead],
    ) -> Probes:
        def figures() -> dict[str, Any]:
            if self._once is not None:
                self._once.figures_were_read()
            return to_plain({runtime.queue: runtime.figures() for runtime in runtimes})

        async def put(asked: Any) -> dict[str, Any]:
            await cordon.put(seconds_of(asked))
            return figures()

        async def take_nothing_ahead(asked: Any) -> dict[str, Any]:
            lease, seconds = asked_of(asked, ahead)
            await lease.put(seconds)
            return figures()

        return Probes(
            self._settings.probe_host,
            self._settings.probe_port,
            lambda: liveness.stalled + self.supervisor.wrong,
            lambda: self._not_ready(runtimes, broker),
            {"/figures": figures},
            self.supervisor,
            acts={"/cordon": put, "/ahead": take_nothing_ahead},
        )

    async def _open(self, broker: Broker, ledger: Ledger | None, runtimes: Sequence[QueueRuntime], lost: Lost | None) -> None:
        if ledger is not None:
            await ledger.open()
        await broker.open()
        consuming = (*runtimes, *((lost,) if lost else ()))
        await asyncio.gather(*(one.start() for one in consuming))  # side by side: each waits for the broker's answer
        self._ready = True
        if not_yet := self._not_ready(runtimes, broker):
            _log.warning("started, and not ready yet", why=not_yet, queues=self._names)
        else:
            _log.info("consuming", queues=self._names, concurrency=self._settings.concurrency)

    def _not_ready(self, runtimes: Sequence[QueueRuntime], broker: Broker) -> list[str]:
        if self._stop.is_set():
            return ["stopping"]
        reason = broker.unready()
        metrics.BROKER_UP.set(0 if reason else 1)
        reasons = [] if self._ready else ["starting"]
        reasons += [f"broker: {reason}"] if reason else []
        reasons += [f"{r.queue}: paused, the outcome store is away" for r in runtimes if r.blind]
        reasons += [f"{r.queue}: paused, the broker takes nothing that is to be put off" for r in runtimes if r.stuck]
        return reasons + [f"{r.queue}: not subscribed" for r in runtimes if not r.paused and r.unsubscribed]

    def _give_up(self, reason: str) -> None:
        _log.critical("giving up: draining, to be started anew", why=reason)
        self.stop(1)


def check_limits(settings: ConsumerSettings, registry: Registry, queues: Sequence[str]) -> None:
    """Refuse a time limit that the broker's own consumer timeout would cut short.

    A delivery waits in our hands for at most prefetch / concurrency - 1 runs before its own begins.
    """
    if settings.hold_limit is None:
        return
    limits = [registry.longest_limit([queue]) for queue in queues]
    needs, limit, job_type = max((limit * _rounds(settings, limit), limit, name) for limit, name in limits)
    if needs > settings.hold_limit:
        raise SettingsError(
            f"{job_type}: a time limit of {limit:g} s needs {needs:g} s at prefetch {needs / limit:g} times concurrency; "
            f"only four fifths of HEADRACE_CONSUMER_TIMEOUT={settings.consumer_timeout:g} s may pass. Raise consumer_timeout in "
            "the broker's configuration (there in milliseconds) and HEADRACE_CONSUMER_TIMEOUT with it, or lower the time limit or "
            "HEADRACE_PREFETCH"
        )


def beyond_drain(settings: ConsumerSettings, registry: Registry, queues: Sequence[str]) -> list[tuple[str, str, float]]:
    """(queue, job type, time limit in seconds) of what may run for longer than a drain. A rollout makes it begin again, and so does
    a node that is drained; scaling waits for it."""
    limits = [(queue, *registry.longest_limit([queue])) for queue in queues]
    return [(queue, job_type, limit) for queue, limit, job_type in limits if limit > settings.drain_seconds]


def _rounds(settings: ConsumerSettings, limit: float) -> float:
    """Runs, one after the other, until the last of what is taken ahead has ended. limit: seconds, the queue's longest."""
    return max(1.0, settings.held_at_most(limit) / settings.concurrency)


def threads(queue: str, most: int) -> Executor:
    """The pool of one queue's plain functions. Its threads are started as they are needed."""
    return ThreadPoolExecutor(most, thread_name_prefix=f"handler-{queue}")


def _ledger(store: OutcomeStore | None, settings: ConsumerSettings, supervisor: Supervisor) -> Ledger | None:
    if store is None:
        return None
    return Ledger(store, lease=settings.claim_lease, give_up=settings.hold_limit, supervisor=supervisor)


def _lost(broker: Broker, topology: Topology, ledger: Ledger | None, tools: Tools) -> Lost | None:
    """Without an outcome store what is lost stays at the broker."""
    if ledger is None or broker.lost is None:
        return None
    return Lost(broker.lost, topology.queues, broker, ledger, tools)


async def _within(part: Awaitable[None]) -> None:
    """Close one part; one that fails or takes too long does not keep the others open."""
    closing = asyncio.ensure_future(part)
    await asyncio.wait({closing}, timeout=_CLOSE_WITHIN)
    if not closing.done():
        closing.cancel()
        _log.error("a part did not close in time", part=repr(part)[:200])
    elif not closing.cancelled() and (error := closing.exception()) is not None:
        _log.error("a part could not be closed", why=logs.brief(error))


async def _purge(store: OutcomeStore, beat: Beat) -> None:
    """Delete what is past its retention: batches, each bounded, until none is left."""
    while True:
        beat()
        await asyncio.sleep(_PURGE_INTERVAL)
        try:
            while await store.purge():
                beat()
        except (StoreUnavailable, BadRecord):
            continue  # the next round does it
