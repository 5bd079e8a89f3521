"""RabbitMQ's management API: the unacked messages, and the number ever published. One request for all queues."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import orjson

from autoscaler.model import Figure
from autoscaler.ports import Sighting
from core.clock import Clock
from core.errors import SignalError
from core.outgoing import Outgoing, untrusted

# The broker gathers its statistics every 5 s (`collect_statistics_interval`), and does not tell when it did.
STATISTICS_AGE = 5.0
# An unchanged count is a new reading only after this number of seconds. Before that it is the last gathering's, which was read
# already: as a new reading it would make 0, 0, 0, 0, 300 of a steady 60/s.
_GATHERED_AGAIN = 1.5 * STATISTICS_AGE
MOST_BYTES = 32 * 2**20
_PLAIN = Outgoing()
_COLUMNS = "name,messages_unacknowledged,message_stats.publish"


class ManagementSignal:
    """url: gives the address with its credentials again for each request, so that they may rotate; vhost: of the queues."""

    name = "rabbitmq-management"

    def __init__(self, url: Callable[[], str], vhost: str, clock: Clock, timeout: float, outgoing: Outgoing = _PLAIN) -> None:
        """timeout: seconds for the whole answer. outgoing: by what way it is asked for."""
        self._url = url
        self._vhost = vhost
        self._clock = clock
        self._timeout = timeout
        self._outgoing = outgoing
        self._client: aiohttp.ClientSession | None = None
        self._published: dict[str, Figure] = {}

    async def open(self) -> None:
        self._client = session(self._outgoing, self._timeout)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        at = self._clock.steady() - STATISTICS_AGE
        wanted = set(queues)
        rows = await self._rows()
        named = ((row.get("name"), row) for row in rows)
        found = {name: _sighting(row, at) for name, row in named if isinstance(name, str) and name in wanted}
        return {name: self._gathered(name, sighting) for name, sighting in found.items()}

    def _gathered(self, queue: str, sighting: Sighting) -> Sighting:
        """With what was published at the time at which it was read first."""
        now, before = sighting.figures.get("published"), self._published.get(queue)
        if now is None:
            return sighting
        if before is None or now.value != before.value or now.at - before.at >= _GATHERED_AGAIN:
            before = self._published[queue] = now
        return Sighting({**sighting.figures, "published": before})

    async def _rows(self) -> list[dict[str, Any]]:
        assert self._client is not None  # noqa: S101 - opened before
        return await rows(self._client, self._url(), ("queues", self._vhost), _COLUMNS, self._outgoing)


def session(outgoing: Outgoing, timeout: float) -> aiohttp.ClientSession:
    """timeout: seconds for a whole answer."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=outgoing.context()), timeout=aiohttp.ClientTimeout(timeout))


async def rows(
    client: aiohttp.ClientSession, url: str, path: Sequence[str], columns: str = "", outgoing: Outgoing = _PLAIN
) -> list[dict[str, Any]]:
    """The objects that the management API lists at a path. url: with credentials. outgoing: of the client. Raises SignalError."""
    address, login = _parts(url)
    where = "/api/" + "/".join(quote(part, safe="") for part in path)
    try:
        asked, proxy = {"columns": columns} if columns else None, outgoing.proxy(address)
        async with client.get(address + where, params=asked, headers=login, proxy=proxy) as answer:
            if answer.status != 200:
                raise SignalError(f"the management API answers {answer.status} to {where}: {_REMEDY.get(answer.status, '')}")
            found = orjson.loads(await _bounded(answer.content))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SignalError(f"the management API does not answer: {type(error).__name__}: {error}{untrusted(error)}") from None
    except orjson.JSONDecodeError:
        raise SignalError("the management API's answer is not JSON: is the URL that of the management listener?") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise SignalError(f"the management API's answer is not a list of {path[0]}")
    return found


def _parts(url: str) -> tuple[str, dict[str, str]]:
    """The address without its credentials, and the header with them as they are meant: in a URL, `@` in a password is `%40`."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _no_url()
        host = parts.netloc.rpartition("@")[2] + ("" if parts.port else ":15672")
        login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    except ValueError:
        raise _no_url() from None
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}", {"Authorization": "Basic " + b64encode(login.encode()).decode()}


def _no_url() -> SignalError:
    """Without the URL, which holds a password."""
    return SignalError("HEADRACE_MANAGEMENT_URL is not a URL: write http://user:password@host:15672")


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """The whole answer, which comes in pieces."""
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            raise SignalError(f"the management API's answer is longer than {MOST_BYTES // 2**20} MiB")
    return bytes(body)


_REMEDY = {
    401: "wrong user or password in HEADRACE_MANAGEMENT_URL",
    403: "the user needs the tag `management` or `monitoring`",
    404: "is the virtual host right, and the management plugin on?",
}


def _sighting(row: dict[str, Any], at: float) -> Sighting:
    """A queue that has never been published to has no `message_stats`: that is unknown, not 0."""
    stats = row.get("message_stats")
    values = {"unacked": row.get("messages_unacknowledged"), "published": stats.get("publish") if isinstance(stats, dict) else None}
    return Sighting({name: Figure(float(value), at) for name, value in values.items() if _is_count(value)})


def _is_count(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
