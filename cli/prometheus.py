"""A Prometheus server's HTTP API, as far as the history of a queue needs it: every refusal is a line for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

from core.errors import HeadraceError

MOST_BYTES: Final = 64 * 2**20  # of an answer: a quarter of a day of 200 replicas, scraped every 5 s
TIMEOUT: Final = 60.0  # seconds for one answer
CONNECT: Final = 10.0  # of them for the connection
CHUNK: Final = 6 * 3600.0  # seconds that one question asks for
LEAST_CHUNK: Final = 300.0


class PrometheusError(HeadraceError):
    """The server cannot be reached, refuses, or knows nothing of this; the message is for a person."""


class TooMuch(PrometheusError):
    """The answer is larger than the server or we take: a shorter stretch may do."""


class Series(NamedTuple):
    """Its labels, and its samples: Unix seconds, value."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]


class Prometheus:
    """An async context. url: of the server, with the path before /api where it has one; user and password may stand in it."""

    def __init__(self, url: str) -> None:
        """Raises PrometheusError for what is no such URL."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is not a number
            usable = False
        if not usable or parts.query or parts.fragment:
            raise PrometheusError("--from-prometheus: write the server's URL, as in http://prometheus:9090")
        self._url = url.rstrip("/")
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"  # without a password
        self.warnings: list[str] = []

    async def __aenter__(self) -> Prometheus:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT, sock_connect=CONNECT))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def values(self, label: str, match: str, begin: float, end: float) -> list[str]:
        """The values of a label that series of the range have."""
        data = await self._ask(f"label/{label}/values", {"match[]": match, "start": f"{begin:.3f}", "end": f"{end:.3f}"})
        return [str(value) for value in data]

    async def instant(self, query: str, at: float) -> list[Series]:
        """One sample a series; or, where the query ends with a range such as [6h], all of that range."""
        data = await self._ask("query", {"query": query, "time": f"{at:.3f}"})
        return [Series(found["metric"], _samples(found)) for found in data["result"]]

    async def raw(self, selector: str, begin: float, end: float) -> list[Series]:
        """All samples of the range as they were scraped, asked for in stretches.

        A range query has at most 11,000 points a series, and none at the scrapes' own times; a stretch of raw samples has no such
        limit, and one that is too much for the server or for us is asked for by halves.
        """
        whole: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
        since, length = begin, CHUNK
        while since < end:
            until = min(end, since + length)
            try:
                found = await self.instant(f"{selector}[{max(1, round(until - since))}s]", until)
            except TooMuch:
                if length <= LEAST_CHUNK:
                    raise
                length /= 2
                continue
            for series in found:  # both ends belong to a stretch: a sample at an edge comes twice
                whole.setdefault(frozenset(series.labels.items()), {}).update(series.samples)
            since = until
        return [Series(dict(labels), sorted(samples.items())) for labels, samples in whole.items()]

    async def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        try:
            async with self._client.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
                return self._read(answer.status, await _limited(answer))
        except aiohttp.ConnectionTimeoutError:
            raise PrometheusError(f"{self.place} does not answer: no connection within {CONNECT:g} s") from None
        except TimeoutError:
            raise TooMuch(f"{self.place} did not answer within {TIMEOUT:g} s: ask for less with --since") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PrometheusError(f"{self.place} does not answer: {type(error).__name__}: {error}") from None

    def _read(self, status: int, body: bytes) -> Any:
        if status in (401, 403):
            raise PrometheusError(
                f"{self.place} refuses ({status}): it wants a user and a password, or others: https://USER:PASSWORD@HOST"
            )
        try:
            document = orjson.loads(body)
            failed = document["status"] != "success"
        except (ValueError, KeyError, TypeError):
            raise PrometheusError(
                f"{self.place} answers {status}, and not as Prometheus' HTTP API does: is this the server's URL? "
                "Where it is served below a path, that belongs to it."
            ) from None
        if failed:
            text = f"{self.place}: {document.get('errorType')}: {document.get('error')}"
            too_much = "too many samples" in text or document.get("errorType") in ("timeout", "canceled")
            raise (TooMuch if too_much else PrometheusError)(text)
        self.warnings += [text for text in document.get("warnings", ()) if text not in self.warnings]
        return document["data"]


async def _limited(answer: aiohttp.ClientResponse) -> bytes:
    """Raises TooMuch for a longer one."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(2**16):
        size += len(part)
        if size > MOST_BYTES:
            raise TooMuch(f"an answer is larger than {MOST_BYTES // 2**20} MiB even for a short stretch: narrow it with --selector")
        parts.append(part)
    return b"".join(parts)


def _samples(found: Mapping[str, Any]) -> list[tuple[float, float]]:
    samples = found["values"] if "values" in found else [found["value"]]
    return [(float(at), float(value)) for at, value in samples]
