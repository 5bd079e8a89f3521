"""RabbitMQ's management API: what is at consumers, and how much was ever published. One request for all queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import orjson

from autoscaler.model import Figure
from autoscaler.ports import Sighting
from jobs.clock import Clock
from jobs.errors import SignalError

# The broker gathers its statistics every 5 s (`collect_statistics_interval`), and does not tell when it did.
STATISTICS_AGE = 5.0
MOST_BYTES = 32 * 2**20
_COLUMNS = "name,messages_unacknowledged,message_stats.publish"


class ManagementSignal:
    """url: gives the address with its credentials anew for each request, so that they may rotate; vhost: of the queues."""

    name = "rabbitmq-management"

    def __init__(self, url: Callable[[], str], vhost: str, clock: Clock, timeout: float) -> None:
        """timeout: seconds for the whole answer."""
        self._url = url
        self._vhost = vhost
        self._clock = clock
        self._timeout = timeout
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(self._timeout))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        at = self._clock.steady() - STATISTICS_AGE
        wanted = set(queues)
        rows = await self._rows()
        return {str(row["name"]): _sighting(row, at) for row in rows if row.get("name") in wanted}

    async def _rows(self) -> list[dict[str, Any]]:
        assert self._client is not None  # noqa: S101 - opened before
        parts = urlsplit(self._url())
        login = aiohttp.BasicAuth(parts.username or "guest", parts.password or "guest")
        address = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}{parts.path.rstrip('/')}"
        path = f"/api/queues/{quote(self._vhost, safe='')}"
        try:
            async with self._client.get(address + path, params={"columns": _COLUMNS}, auth=login) as answer:
                if answer.status != 200:
                    raise SignalError(f"the management API answers {answer.status} to {path}: {_REMEDY.get(answer.status, '')}")
                body = await answer.content.read(MOST_BYTES)
                rows = orjson.loads(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SignalError(f"the management API does not answer: {type(error).__name__}: {error}") from None
        except orjson.JSONDecodeError:
            raise SignalError("the management API's answer is not JSON: is the URL that of the management listener?") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SignalError("the management API's answer is not a list of queues")
        return rows


_REMEDY = {
    401: "wrong user or password in HEADRACE_MANAGEMENT_URL",
    403: "the user needs the tag `monitoring`",
    404: "is the virtual host right, and the management plugin on?",
}


def _sighting(row: dict[str, Any], at: float) -> Sighting:
    """A queue that has never been published to has no `message_stats`: that is unknown, not 0."""
    stats = row.get("message_stats")
    values = {"unacked": row.get("messages_unacknowledged"), "published": stats.get("publish") if isinstance(stats, dict) else None}
    kept = {name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return Sighting({name: Figure(float(value), at) for name, value in kept.items()})
