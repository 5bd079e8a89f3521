"""The signals, and what they saw last.

All are asked in the same moment: ended jobs (the consumers' figure) and waiting ones (the broker's) are added up, and figures of
two moments would make up arrivals that never were. A slow signal delays no decision for long, it only grows old.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import fields

from autoscaler.model import UNKNOWN, Figure, Observation, Pause, Unknown
from autoscaler.ports import Sighting, Signal, Workload
from core.clock import Clock
from core.errors import SignalError
from telemetry import logs, metrics
from telemetry.supervisor import Beat, Supervised, Supervisor, cancelled

_log = logs.get("autoscaler.signals")

# A figure of a later signal is taken where the preferred one is this number of seconds older: its source has gone silent.
_SILENT_SECONDS = 5.0
# Counters of two sources have two zeros: the source that reported one first is the only one that is polled for it.
_COUNTERS = frozenset({"published", "completed", "done", "returned", "busy_seconds"})
# The parts of the interval that a decision waits for the first signal, and then for the others: together less than all of it, so
# that one that hangs slows down no other.
_PATIENCE_FIRST, _PATIENCE = 0.6, 0.25
# A signal's own time limit ends its look long before: this is for one whose look never ends, which would blind it for good.
_LOOK_AT_MOST = 60.0
_FIGURES = tuple(f.name for f in fields(Observation) if f.default is UNKNOWN and f.name not in ("running", "ready"))


class Watchers:
    """signals: the earlier ones are preferred where two tell the same figure."""

    def __init__(
        self, signals: Sequence[Signal], queues: Sequence[str], clock: Clock, interval: float, supervisor: Supervisor | None = None
    ) -> None:
        """interval: seconds between two looks. supervisor: the program's, which keeps them coming."""
        self._signals = signals
        self._queues = queues
        self._clock = clock
        self._interval = interval
        self._seen: dict[str, dict[str, Sighting]] = {signal.name: {} for signal in signals}
        self._owner: dict[tuple[str, str], str] = {}
        self._complained = {signal.name: "" for signal in signals}
        self._last: dict[str, float] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._began: dict[str, float] = {}  # looks that have not ended
        self._took: dict[str, float] = {}  # the last one that was answered, seconds
        self._supervisor = supervisor or Supervisor()
        self._rounds: Supervised | None = None
        self.rounds = 0  # of looks that have ended
        self.looked = asyncio.Event()  # set once a round of looks has ended; a new one takes its place for the next round

    async def open(self) -> None:
        for signal in self._signals:
            await signal.open()
        self._last = {signal.name: self._clock.steady() for signal in self._signals}
        self._rounds = self._supervisor.start("signals", self._run, patience=max(30.0, 10 * self._interval))

    async def close(self) -> None:
        if self._rounds is not None:
            await self._rounds.stop()
        await asyncio.gather(*(cancelled(task) for task in self._looking.values()))
        for signal in self._signals:
            await signal.close()

    def observation(self, queue: str, workload: Workload) -> Observation:
        """Everything that is known of a queue now."""
        chosen = {name: found for name in _FIGURES if (found := self._chosen(queue, name)) is not None}
        figures: dict[str, Figure | Unknown] = {name: figure for name, (figure, _) in chosen.items()}
        silent = {signal.name for signal in self._signals if self._is_silent(signal.name)}
        if workload.ends_itself:
            figures["takeable"] = Figure(0, workload.at)
        ready = sum(replica.ready for replica in workload.replicas)
        traces = (self._seen[s.name][queue].slow_trace for s in self._signals if queue in self._seen[s.name])
        return Observation(
            wall=self._clock.wall(),
            asked=workload.asked,
            running=Figure(len(workload.replicas), workload.at),
            ready=Figure(ready, workload.at),
            slow_trace=next((trace for trace in traces if trace), ""),
            pause=Pause(workload.pause),
            unschedulable=workload.unschedulable,
            unready=workload.unready,
            ends_itself=workload.ends_itself,
            silent_at=max((figure.at for figure, source in chosen.values() if source in silent), default=None),
            **figures,
        )

    def _is_silent(self, name: str) -> bool:
        """Whether its last look failed, or it has been looking for much longer than it took before."""
        now, began = self._clock.steady(), self._began.get(name)
        return bool(self._complained[name]) or (began is not None and now - began > self._interval + 2 * self._took.get(name, 0.0))

    def _chosen(self, queue: str, name: str) -> tuple[Figure, str] | None:
        """The figure, and the signal that tells it."""
        found: tuple[Figure, str] | None = None
        for signal in self._signals:
            sighting = self._seen[signal.name].get(queue)
            if sighting is None or name not in sighting.figures:
                continue
            if name in _COUNTERS and self._owner.setdefault((queue, name), signal.name) != signal.name:
                continue
            figure = sighting.figures[name]
            if found is None or figure.at > found[0].at + _SILENT_SECONDS:
                found = figure, signal.name
        return found

    async def _run(self, beat: Beat) -> None:
        """Rounds, for ever. A signal whose poll is under way is not polled again."""
        while True:
            beat()
            began = self._clock.steady()
            for signal in self._signals:
                if signal.name not in self._looking or self._looking[signal.name].done():
                    self._looking[signal.name] = self._supervisor.once(f"signal {signal.name}", self._look(signal))
            await asyncio.wait({self._looking[self._signals[0].name]}, timeout=self._interval * _PATIENCE_FIRST)
            await asyncio.wait(self._looking.values(), timeout=self._interval * _PATIENCE)
            self.rounds += 1
            self.looked.set()
            self.looked = asyncio.Event()
            took = self._clock.steady() - began
            await asyncio.sleep(max(0.05, self._interval * random.uniform(0.9, 1.1) - took))

    async def _look(self, signal: Signal) -> None:
        began = self._began[signal.name] = self._clock.steady()
        try:
            async with asyncio.timeout(_LOOK_AT_MOST):
                self._seen[signal.name].update(await signal.look(self._queues))
            self._last[signal.name], self._took[signal.name] = began, self._clock.steady() - began
            self._complain(signal.name, "")
        except SignalError as error:
            metrics.SIGNAL_ERRORS.labels(signal.name).inc()
            self._complain(signal.name, str(error))
        except Exception as error:  # a mistake in a signal blinds it for one look, not for good
            metrics.SIGNAL_ERRORS.labels(signal.name).inc()
            self._complain(signal.name, f"{type(error).__name__}: {error}", traceback=True)
        finally:
            del self._began[signal.name]
        metrics.SIGNAL_AGE.labels(signal.name).set(self._clock.steady() - self._last[signal.name])

    def _complain(self, name: str, why: str, *, traceback: bool = False) -> None:
        """Say it when it changes, not at every look."""
        if why != self._complained[name]:
            self._complained[name] = why
            if why:
                _log.warning("a signal sees nothing", signal=name, why=why, exc_info=traceback)
            else:
                _log.info("a signal sees again", signal=name)


def ages(observation: Observation, now: float) -> Mapping[str, float]:
    """Seconds since each known figure was true."""
    known = ((f.name, getattr(observation, f.name)) for f in fields(observation))
    return {name: round(now - figure.at, 2) for name, figure in known if isinstance(figure, Figure)}
