"""A client of Redis whose user and password are read anew for each connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from jobs.secret_url import Url, anew
from jobs.settings import Settings
from telemetry import logs

_log = logs.get("redis")


def client(url: Url, settings: Settings, connections: int) -> aioredis.Redis:
    """Short timeouts, and nothing is retried here: the callers know what may be repeated. connections: at most so many."""
    credentials = _Credentials(url)
    pool = aioredis.ConnectionPool(
        **credentials.server,
        credential_provider=credentials,
        max_connections=connections,
        socket_timeout=settings.store_timeout,
        socket_connect_timeout=settings.store_timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return aioredis.Redis.from_pool(pool)


def why(error: Exception) -> str:
    """What went wrong, and what to mend where that can be told. redis-py never puts the password into an error."""
    if isinstance(error, AuthenticationError):
        return f"Redis refuses the user or the password of HEADRACE_OUTCOMES (or of its file): {error}"
    return f"Redis: {type(error).__name__}: {error}"


class _Credentials(CredentialProvider):
    """server: where the URL led when it was first read. A pool knows one server: another one needs a restart."""

    def __init__(self, url: Url) -> None:
        self._url = anew(url)
        self._moved = False
        self.server, _ = _parts(self._url())

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password, as Redis' AUTH takes them; nothing at all for a URL without them."""
        server, login = _parts(self._url())
        if server != self.server and not self._moved:
            self._moved = True  # once: it stays so until the restart
            _log.warning("the URL of HEADRACE_OUTCOMES leads to another server or database now: that needs a restart")
        return login

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _parts(url: str) -> tuple[Mapping[str, Any], tuple[str] | tuple[str, str]]:
    """What says where the server is, and the login."""
    options: dict[str, Any] = dict(parse_url(url))
    user, password = options.pop("username", ""), options.pop("password", "")
    if not user and not password:
        return options, ()  # type: ignore[return-value]  # redis-py then sends no AUTH, which its type does not tell
    return options, (user, password) if user else (password,)
