"""The consumers' own figures, asked of each process or pod directly: no scrape interval lies between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from typing import NamedTuple

import aiohttp
import orjson

from autoscaler.model import Figure
from autoscaler.ports import Replica, Sighting
from jobs.clock import Clock
from jobs.errors import SignalError
from jobs.figures import QueueFigures, from_plain

Told = Mapping[str, dict[str, QueueFigures]]

# Requests at once: a hundred pods are asked within a few hundredths of a second, and no file descriptors run out.
_AT_ONCE = 50


@dataclass
class _Counted:
    """A queue's counters over all replicas since our first look: what one counted stays when it goes, or begins anew at 0.

    elder: replicas that were there at the first look. What they had counted before their first answer is no work of now.
    """

    elder: frozenset[str]
    settled: float = 0.0
    busy: float = 0.0
    done: float | None = None
    last: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def add(self, replica: str, figures: QueueFigures) -> None:
        now = (float(figures.settled), figures.busy_seconds, float(figures.done or 0))
        before = self.last.get(replica, now if replica in self.elder else (0.0, 0.0, 0.0))
        if any(count < last for count, last in zip(now, before, strict=True)):
            before = (0.0, 0.0, 0.0)
        self.settled += now[0] - before[0]
        self.busy += now[1] - before[1]
        if figures.done is not None:
            self.done = (self.done or 0.0) + now[2] - before[2]
        self.last[replica] = now

    def keep(self, replicas: frozenset[str]) -> None:
        """Forget those that are gone: another one of the same name begins at 0."""
        self.elder &= replicas
        for gone in self.last.keys() - replicas:
            del self.last[gone]


class _Gone(Enum):
    GONE = "nobody listens there"


_GONE = _Gone.GONE


class _Busy(NamedTuple):
    """What one replica said of all its queues. lasts: seconds until its runs have ended, or None. held: deliveries."""

    lasts: float | None
    held: int

    @classmethod
    def of(cls, figures: Sequence[QueueFigures]) -> _Busy:
        told = [of.lasts for of in figures if of.lasts is not None]
        return cls(max(told, default=0.0) if len(told) == len(figures) else None, sum(of.held for of in figures))


class ConsumersSignal:
    """replicas: those that a queue has now, or None while nobody knows."""

    name = "consumers"

    def __init__(
        self,
        replicas: Callable[[str], Sequence[Replica] | None],
        clock: Clock,
        timeout: float,
        drains: Mapping[str, float],
    ) -> None:
        """timeout: seconds for one replica to answer. drains: by queue, the seconds that one which is to go has for its runs."""
        self._replicas = replicas
        self._drains = drains
        self._clock = clock
        self._timeout = timeout
        self._counted: dict[str, _Counted] = {}
        self._client: aiohttp.ClientSession | None = None
        self._busy: dict[str, _Busy] = {}  # what each said last; one that has never said anything has taken nothing
        self._silent: Set[str] = frozenset()

    def idlest(self, replicas: Sequence[Replica]) -> list[str]:
        """Their names: who is starting has nothing to lose, then whose runs end soonest; who did not answer comes last."""
        return [replica.name for replica in sorted(replicas, key=self._loss)]

    def _loss(self, replica: Replica) -> tuple[bool, float, int]:
        busy = self._busy.get(replica.name, _Busy(0.0, -1))  # one that is starting goes before all others
        return (self._hides(replica), busy.lasts or 0.0, busy.held)

    def _hides(self, replica: Replica) -> bool:
        """Whether it may hold anything, and says nothing."""
        return replica.name in self._silent or (replica.ready and replica.name not in self._busy)

    def _takeable(self, staying: Sequence[Replica], drain: float) -> int | None:
        """How many may go: none of their runs outlasts the drain. None where a consumer does not tell how long its runs last.

        Kubernetes takes a pod that is not ready before all others, whatever their deletion cost: while there is one that may be in
        the middle of something, none may go. A StatefulSet takes the last ones: those up to the first of them that may not.
        """
        if any(busy.lasts is None and busy.held for replica in staying if (busy := self._busy.get(replica.name)) is not None):
            return None
        may_go = {replica.name for replica in staying if self._may_go(replica, drain)}
        if any(not replica.ready and replica.name not in may_go for replica in staying):
            return 0
        last_first = sorted(staying, key=lambda replica: -replica.ordinal)
        if last_first and last_first[0].ordinal >= 0:
            return sum(1 for _ in takewhile(lambda replica: replica.name in may_go, last_first))
        return len(may_go)

    def _may_go(self, replica: Replica, drain: float) -> bool:
        busy = self._busy.get(replica.name)
        return not self._hides(replica) and (busy is None or (busy.lasts or 0.0) <= drain)

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=_AT_ONCE)
        self._client = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(self._timeout))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        """Queues whose workload is not known are left out. A replica that does not answer leaves what it holds unknown."""
        asked = self._clock.steady()
        replicas = {queue: found for queue in queues if (found := self._replicas(queue)) is not None}
        unique = {replica.name: replica for of in replicas.values() for replica in of if replica.metrics}
        answers = await asyncio.gather(*(self._ask(replica) for replica in unique.values()))
        by_name = dict(zip(unique, answers, strict=True))
        told = {name: answer for name, answer in by_name.items() if isinstance(answer, dict)}
        there = {name for name, answer in by_name.items() if answer is not _GONE}
        self._busy = {name: busy for name, busy in self._busy.items() if name in there} | {
            name: _Busy.of(list(of.values())) for name, of in told.items()
        }
        self._silent = there - told.keys()
        if unique and not told:
            raise SignalError(f"none of {len(unique)} consumers answers")
        return {queue: self._sighting(queue, of, told, asked) for queue, of in replicas.items()}

    async def _ask(self, replica: Replica) -> dict[str, QueueFigures] | _Gone | None:
        """What it says; None where it says nothing; _GONE where nobody is there, not yet or no more, who could hold anything."""
        assert self._client is not None  # noqa: S101 - opened before
        try:
            async with self._client.get(replica.metrics.removesuffix("/metrics") + "/figures") as answer:
                return from_plain(orjson.loads(await answer.read())) if answer.status == 200 else None
        except aiohttp.ClientConnectorError as error:
            return _GONE if isinstance(error.os_error, ConnectionRefusedError) and not replica.ready else None
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError, AttributeError):
            return None  # starting, stopping, or no consumer of ours

    def _sighting(
        self, queue: str, replicas: Sequence[Replica], told: Mapping[str, dict[str, QueueFigures]], at: float
    ) -> Sighting:
        names = frozenset(replica.name for replica in replicas)
        counted = self._counted.setdefault(queue, _Counted(names))
        counted.keep(names)
        of = {replica.name: told[replica.name][queue] for replica in replicas if queue in told.get(replica.name, {})}
        for name, figures in of.items():
            counted.add(name, figures)
        values = {"completed": counted.settled, "busy_seconds": counted.busy}
        if counted.done is not None:
            values["done"] = counted.done
        # One that is ready, or is there and says nothing, may hold anything; one in which nobody listens yet has taken nothing.
        if all(replica.name in of for replica in replicas if replica.ready or replica.name in self._silent):
            values |= {"in_flight": sum(f.in_flight for f in of.values()), "unacked": sum(f.held for f in of.values())}
        staying = [replica for replica in replicas if not replica.leaving]
        if (paused := _paused(staying, of)) is not None:
            values["paused"] = paused
        if (takeable := self._takeable(staying, self._drains[queue])) is not None:
            values["takeable"] = takeable
        values |= _latencies(list(of.values()))
        slowest = max(of.values(), key=lambda f: f.slow_seconds, default=QueueFigures())
        return Sighting({name: Figure(value, at) for name, value in values.items()}, slowest.slow_trace)


def _paused(staying: Sequence[Replica], of: Mapping[str, QueueFigures]) -> int | None:
    """How many take nothing for now, where none takes anything; 0 where one does. None where that is not told."""
    told = [of[replica.name].paused for replica in staying if replica.name in of]
    if not told or None in told:
        return None
    taking = any(replica.ready and not (replica.name in of and of[replica.name].paused) for replica in staying)
    return 0 if taking else sum(map(bool, told))


def _latencies(figures: Sequence[QueueFigures]) -> dict[str, float]:
    """Means weighted by jobs; of the replicas' 95th percentiles the highest, which is at least the true one's bound."""
    jobs = sum(f.recent for f in figures)
    if not jobs:
        return {}
    means = {name: sum(getattr(f, name) * f.recent for f in figures) / jobs for name in ("wait_mean", "handler_mean")}
    return means | {name: max(getattr(f, name) for f in figures if f.recent) for name in ("wait_p95", "handler_p95")}
