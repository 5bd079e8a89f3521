"""The consumers' own figures, asked of each process or pod directly: no scrape interval lies between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import aiohttp
import orjson

from autoscaler.model import Figure
from autoscaler.ports import Replica, Sighting
from autoscaler.runs import Runs
from core.clock import Clock
from core.errors import SignalError
from core.figures import QueueFigures, from_plain

# Requests at once: a hundred pods are asked within a few hundredths of a second, and no file descriptors run out.
_AT_ONCE = 50


_NOTHING = (0.0, 0.0, 0.0, 0.0)


@dataclass
class _Counted:
    """A queue's counters over all replicas since our first look: the counts of one stay when it goes, or begins again at 0.

    elder: replicas that were there at the first look. Their counts before their first answer are no work of now.
    """

    elder: frozenset[str]
    settled: float = 0.0
    busy: float = 0.0
    done: float | None = None
    returned: float | None = None
    last: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def add(self, replica: str, figures: QueueFigures) -> None:
        now = (float(figures.settled), figures.busy_seconds, float(figures.done or 0), float(figures.returned or 0))
        before = self.last.get(replica, now if replica in self.elder else _NOTHING)
        if any(count < last for count, last in zip(now, before, strict=True)):
            before = _NOTHING
        self.settled += now[0] - before[0]
        self.busy += now[1] - before[1]
        if figures.done is not None:
            self.done = (self.done or 0.0) + now[2] - before[2]
        if figures.returned is not None:
            self.returned = (self.returned or 0.0) + now[3] - before[3]
        self.last[replica] = now

    def keep(self, replicas: frozenset[str]) -> None:
        """Forget those that are gone: another one of the same name begins at 0."""
        self.elder &= replicas
        for gone in self.last.keys() - replicas:
            del self.last[gone]


class _Gone(Enum):
    GONE = "nobody listens there"


GONE = _Gone.GONE
Answer = dict[str, QueueFigures] | _Gone | None


class ConsumersSignal:
    """replicas: those that a queue has now, or None while that is unknown."""

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
        self.runs = Runs()

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
        answers = await asyncio.gather(*(self._call("GET", replica, "/figures") for replica in unique.values()))
        by_name = dict(zip(unique, answers, strict=True))
        told = {name: answer for name, answer in by_name.items() if isinstance(answer, dict)}
        there = {name for name, answer in by_name.items() if answer is not GONE}
        self.runs.hear(told, there)
        if unique and not told:
            raise SignalError(f"none of {len(unique)} consumers answers")
        return {queue: self._sighting(queue, of, told, asked) for queue, of in replicas.items()}

    async def cordon(self, replicas: Sequence[Replica], seconds: float) -> None:
        """Stop their deliveries for the given number of seconds, or resume them with 0. One that does not answer is then silent."""
        body = orjson.dumps({"seconds": seconds})
        answers = await asyncio.gather(*(self._call("PUT", replica, "/cordon", body) for replica in replicas))
        for replica, answer in zip(replicas, answers, strict=True):
            if answer is not GONE:
                self.runs.hear_one(replica.name, answer)

    async def take_nothing_ahead(self, queue: str, replicas: Sequence[tuple[Replica, float]]) -> None:
        """Have them hold no more of a queue than they can run, each for its seconds. The next look tells of who did not answer."""
        bodies = [(replica, orjson.dumps({"queue": queue, "seconds": seconds})) for replica, seconds in replicas]
        answers = await asyncio.gather(*(self._call("PUT", replica, "/ahead", body) for replica, body in bodies))
        for (replica, _), answer in zip(replicas, answers, strict=True):
            if isinstance(answer, dict):
                self.runs.hear_one(replica.name, answer)

    async def _call(self, verb: str, replica: Replica, path: str, body: bytes = b"") -> Answer:
        """Its report; None without an answer; GONE where no process listens, yet or any more, that could hold a delivery."""
        assert self._client is not None  # noqa: S101 - opened before
        try:
            async with self._client.request(verb, replica.metrics.removesuffix("/metrics") + path, data=body) as answer:
                return from_plain(orjson.loads(await answer.read())) if answer.status == 200 else None
        except aiohttp.ClientConnectorError as error:
            return GONE if isinstance(error.os_error, ConnectionRefusedError) and not replica.ready else None
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError, AttributeError):
            return None  # starting, stopping, or no consumer of ours

    def _is_ending(self, replica: Replica) -> bool:
        return replica.leaving or bool(self.runs.cordoned(replica))

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
        if counted.returned is not None:
            values["returned"] = counted.returned
            values["due_soon"] = sum(figures.due_soon or 0 for figures in of.values())
        # One that is ready, or is there and does not answer, may hold anything; one that does not listen yet has taken nothing.
        if all(replica.name in of for replica in replicas if replica.ready or self.runs.silent(replica)):
            ending = sum(of[replica.name].in_flight for replica in replicas if replica.name in of and self._is_ending(replica))
            values |= {"in_flight": sum(f.in_flight for f in of.values()), "unacked": sum(f.held for f in of.values())}
            values["ending"] = ending
        staying = [replica for replica in replicas if not replica.leaving]
        if (paused := _paused(staying, of)) is not None:
            values["paused"] = paused
        active = [replica for replica in staying if not self.runs.cordoned(replica)]
        if (takeable := self.runs.takeable(active, self._drains[queue])) is not None:
            values["takeable"] = takeable
        values |= _latencies(list(of.values()))
        slowest = max(of.values(), key=lambda f: f.slow_seconds, default=QueueFigures())
        return Sighting({name: Figure(value, at) for name, value in values.items()}, slowest.slow_trace)


def _paused(staying: Sequence[Replica], of: Mapping[str, QueueFigures]) -> int | None:
    """How many take nothing for now, where none takes anything; 0 where one does. None where that is not reported."""
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
