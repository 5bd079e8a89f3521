"""A Prometheus server's word, for those whose consumers cannot be asked directly. As old as its scrapes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import orjson

from autoscaler.model import Figure
from autoscaler.ports import Sighting
from core.clock import Clock
from core.errors import SignalError
from core.outgoing import Outgoing, untrusted

_TIMED: Final = ("wait", "handler")
MOST_BYTES: Final = 8 * 2**20
_PLAIN: Final = Outgoing()


def queries(selector: str) -> Mapping[str, str]:
    """Of each figure a query whose answer has one sample a queue. selector: label matchers with commas; empty: all series."""

    def rate(metric: str, by: str = "queue") -> str:
        return f"sum by ({by}) (rate(headrace_{metric}{{{selector}}}[1m]))"

    return {
        "in_flight": f"sum by (queue) (headrace_deliveries_in_flight{{{selector}}})",
        "unacked": f"sum by (queue) (headrace_deliveries_held{{{selector}}})",
        **{f"{what}_mean": f"{rate(f'{what}_seconds_sum')} / {rate(f'{what}_seconds_count')}" for what in _TIMED},
        **{f"{what}_p95": f"histogram_quantile(0.95, {rate(f'{what}_seconds_bucket', 'queue, le')})" for what in _TIMED},
    }


class PrometheusSignal:
    """Gauges and latencies; counters are left to who can be asked without a scrape between.

    url: gives the server's address again for each look, such as http://prometheus:9090. selector: which series are those of our
    consumers, where the server knows others; as in PromQL.
    """

    name = "prometheus"

    def __init__(
        self, url: Callable[[], str], clock: Clock, timeout: float, selector: str = "", outgoing: Outgoing = _PLAIN
    ) -> None:
        """timeout: seconds for all queries together. outgoing: by what way they go."""
        self._url = url
        self._queries = queries(selector)
        # timestamp() tells how old the scrape behind them is.
        self._ages = f"time() - min by (queue) (timestamp(headrace_deliveries_in_flight{{{selector}}}))"
        self._clock = clock
        self._timeout = timeout
        self._outgoing = outgoing
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._outgoing.context()), timeout=aiohttp.ClientTimeout(self._timeout)
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        now = self._clock.steady()
        ages, *answers = await asyncio.gather(*(self._ask(query) for query in (self._ages, *self._queries.values())))
        seen: dict[str, dict[str, Figure]] = {queue: {} for queue in queues if queue in ages}
        for name, answer in zip(self._queries, answers, strict=True):
            for queue in seen.keys() & answer.keys():
                seen[queue][name] = Figure(answer[queue], now - max(0.0, ages[queue]))
        return {queue: Sighting(figures) for queue, figures in seen.items()}

    async def _ask(self, query: str) -> dict[str, float]:
        """The samples of an instant query by queue; a value that is not a number (0 / 0, where nothing happened) is unknown."""
        assert self._client is not None  # noqa: S101 - opened before
        url = f"{self._url().rstrip('/')}/api/v1/query"
        try:
            async with self._client.get(url, params={"query": query}, proxy=self._outgoing.proxy(url)) as answer:
                body = await answer.content.read(MOST_BYTES)
                if answer.status != 200:
                    raise SignalError(f"Prometheus answers {answer.status}: {body[:200].decode(errors='replace')}")
                return _samples(orjson.loads(body))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SignalError(f"Prometheus does not answer: {type(error).__name__}: {error}{untrusted(error)}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SignalError("the answer is not one of Prometheus' HTTP API: is HEADRACE_PROMETHEUS_URL the server's?") from None


def _samples(document: Any) -> dict[str, float]:
    found = {sample["metric"]["queue"]: float(sample["value"][1]) for sample in document["data"]["result"]}
    return {queue: value for queue, value in found.items() if value == value and abs(value) != float("inf")}  # noqa: PLR0124 - NaN
