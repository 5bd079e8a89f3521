"""A queue's past, from the metrics that its consumers export: when its jobs arrived, and how long they took."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cli.prometheus import CHUNK, Prometheus, PrometheusError, Series
from core.clock import rfc3339
from core.errors import SettingsError
from simulator.buckets import Buckets, from_histogram
from simulator.counters import Growth, by_minute, gaps, grown, scrape_interval, spread_over
from simulator.sizes import Sizes

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LEAST: Final = 600.0  # seconds between the first and the last sample: less shows no policy anything
_LONGEST: Final = 90 * 86_400.0
_RETRIED: Final = 1.005  # runs a job: below, the difference is that of what begins before the range and ends in it


@dataclass(frozen=True, slots=True)
class Past:
    """begin: Unix seconds. arrivals: of each second, in runs. notes: what is not as one would think, for a person."""

    begin: float
    arrivals: Sequence[float]
    sizes: Sizes
    notes: Sequence[str]


def seconds_of(since: str) -> float:
    """Seconds of `7d`, `12h`, `90m`. Raises SettingsError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", since.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not _LEAST <= seconds <= _LONGEST:
        raise SettingsError(f"--since {since!r}: write how long, from 10m to 90d, as in 7d, 12h or 90m")
    return math.floor(seconds)


async def past(url: str, queue: str, seconds: float, until: float, selector: str = "") -> Past:
    """The range of `seconds` that ends at `until` (Unix seconds). selector: label matchers, as in PromQL.

    Raises PrometheusError where it cannot be had: no such server, queue or data, or too little of it.
    """
    begin = until - seconds
    async with Prometheus(url) as server:
        await _require_queue(server, queue, begin, until, selector)
        of_queue = f'{{queue="{_escaped(queue)}"{"," + selector if selector.strip() else ""}}}'
        read = _Reader(server, of_queue, begin, until)
        return await read.past(queue)


async def _require_queue(server: Prometheus, queue: str, begin: float, until: float, selector: str) -> None:
    series = f"headrace_wait_seconds_count{{{selector}}}"
    there = await server.values("queue", series, begin, until)
    when = f"between {rfc3339(begin)} and {rfc3339(until)}"
    if not there:
        raise PrometheusError(f"{server.place} has no {series} {when}: does it scrape the consumers' /metrics, for so long?")
    if queue not in there:
        raise PrometheusError(f"{server.place} knows no queue {queue!r} {when}; there are {', '.join(sorted(there))}")


def _escaped(queue: str) -> str:
    return queue.replace("\\", "\\\\").replace('"', '\\"')


class _Reader:
    def __init__(self, server: Prometheus, of_queue: str, begin: float, until: float) -> None:
        self._server, self._of_queue, self._begin, self._until = server, of_queue, begin, until
        self._notes: list[str] = []

    async def past(self, queue: str) -> Past:
        began = await self._raw("headrace_wait_seconds_count")
        interval = scrape_interval(series.samples for series in began)
        self._require_enough(began, queue)
        first = self._grown(began, interval)
        if not first:
            raise PrometheusError(f"no job of {queue!r} began between {rfc3339(self._begin)} and {rfc3339(self._until)}")
        waits = by_minute(self._grown(await self._raw("headrace_wait_seconds_sum"), interval))
        jobs = by_minute(first)
        earlier = {minute: waits.get(minute, 0.0) / count for minute, count in jobs.items()}
        arrivals = spread_over(first, self._begin, self._until, earlier)
        self._tell_gaps(began, interval)
        runs = await self._raw("headrace_handler_seconds_count")
        again = self._runs_a_job(runs, interval, sum(jobs.values()))
        sizes = await self._sizes(queue)
        self._notes += [f"Prometheus warns: {text}" for text in self._server.warnings]
        return Past(self._begin, [count * again for count in arrivals], sizes, self._notes)

    async def _raw(self, metric: str) -> list[Series]:
        return await self._server.raw(metric + self._of_queue, self._begin, self._until)

    def _grown(self, found: Sequence[Series], interval: float) -> list[Growth]:
        return [growth for series in found for growth in grown(series.samples, interval, self._begin)]

    def _require_enough(self, began: Sequence[Series], queue: str) -> None:
        times = [at for series in began for at, _ in series.samples]
        covered = max(times) - min(times) if times else 0.0
        if covered < _LEAST:
            raise PrometheusError(
                f"{self._server.place} has not enough history of {queue!r}: {covered:,.0f} s of samples, {_LEAST:g} s are needed"
            )

    def _tell_gaps(self, began: Sequence[Series], interval: float) -> None:
        found = gaps([series.samples for series in began], self._begin, self._until, interval)
        if found:
            some = ", ".join(f"{rfc3339(since)} for {until - since:,.0f} s" for since, until in found[:3])
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            total = sum(until - since for since, until in found)
            whole = self._until - self._begin
            self._notes.append(
                f"no consumer was scraped for {total:,.0f} of {whole:,.0f} s (from {some}{more}): none ran, or the "
                "scrapes failed. Growth of a counter over such a gap is spread evenly over it; what else came then is not seen."
            )

    def _runs_a_job(self, runs: Sequence[Series], interval: float, jobs: float) -> float:
        """Retries are work too: arrivals are multiplied by this, as if they came with the first runs."""
        again = sum(growth.by for growth in self._grown(runs, interval)) / jobs
        if again < _RETRIED:
            return 1.0
        self._notes.append(f"{again:.2f} runs a job, retries included: arrivals are runs, retries as if they came with first runs.")
        return again

    async def _sizes(self, queue: str) -> Sizes:
        """Raises PrometheusError where no job has ended."""
        for function in ("increase", "last_over_time"):  # a replica of one sample has no increase: then what it counted in all
            laws = await self._laws(function)
            if laws:
                self._notes.append(
                    "durations are drawn from the buckets of headrace_handler_seconds, log-linear within one, each job type with "
                    "its own mean: " + ", ".join(f"{law.kind} {law.mean:.3g} s" for law, _ in laws)
                )
                return Sizes([law for law, _ in laws], [jobs for _, jobs in laws])
        raise PrometheusError(f"no job of {queue!r} ended between {rfc3339(self._begin)} and {rfc3339(self._until)}")

    async def _laws(self, function: str) -> list[tuple[Buckets, float]]:
        buckets = await self._summed("bucket", "job_type, le", function)
        sums = await self._summed("sum", "job_type", function)
        laws = []
        for kind in sorted({kind for kind, _ in buckets}):
            cumulative = {float(le): jobs for (of, le), jobs in buckets.items() if of == kind}
            jobs = max(cumulative.values())
            law = from_histogram(kind, cumulative, sums.get((kind, ""), 0.0) / jobs if jobs > 0 else 0.0)
            if law is not None:
                laws.append((law, jobs))
        return laws

    async def _summed(self, part: str, labels: str, function: str) -> Mapping[tuple[str, str], float]:
        """Over the range, a stretch at a time; only the shares count, so that what the server rounds off at edges does not."""
        totals: dict[tuple[str, str], float] = {}
        since = self._begin
        while since < self._until:
            end = min(self._until, since + CHUNK)
            metric = f"headrace_handler_seconds_{part}{self._of_queue}"
            query = f"sum by ({labels}) ({function}({metric}[{max(1, round(end - since))}s]))"
            for series in await self._server.instant(query, end):
                key = series.labels.get("job_type", ""), series.labels.get("le", "")
                totals[key] = totals.get(key, 0.0) + series.samples[0][1]
            since = end
        return totals
