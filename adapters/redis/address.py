"""Where a URL leads: one server, a cluster, or what Sentinel calls the primary of a service.

    redis://[user:password@]host:port/database
    redis+cluster://[user:password@]host:port[,host:port…]
    redis+sentinel://[user:password@]host:port[,host:port…]/service[/database]

With `rediss` in the place of `redis` over TLS, to Sentinel too. The login is the servers': Sentinel is asked without one, or with
the same for `?sentinel_login=yes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

from core.errors import SettingsError

Login = tuple[()] | tuple[str] | tuple[str, str]
_CLUSTER_PORT, _SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True)
class Address:
    """options: arguments of redis-py's connections. hosts: nodes to begin with, or Sentinels; none for one server."""

    kind: Literal["single", "cluster", "sentinel"]
    options: Mapping[str, Any] = field(default_factory=dict)
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_login: bool = False

    @property
    def tls(self) -> bool:
        """Whether servers are reached over it."""
        return bool(self.options.get("ssl")) or self.options.get("connection_class") is SSLConnection


def parse(url: str) -> tuple[Address, Login]:
    """Raises SettingsError, without the URL."""
    scheme, _, rest = url.partition("://")
    tls, _, kind = scheme.partition("+")
    if kind == "cluster":
        return _cluster(f"{tls}://{rest}")
    if kind == "sentinel":
        return _sentinel(f"{tls}://{rest}")
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        raise SettingsError("HEADRACE_OUTCOMES: write redis://user:password@host:port/database") from None
    user, password = options.pop("username", ""), options.pop("password", "")
    return Address("single", options), _login(user, password)


def _cluster(url: str) -> tuple[Address, Login]:
    hosts, login = _network(url, _CLUSTER_PORT)
    if urlsplit(url).path.strip("/") not in ("", "0"):
        raise SettingsError("HEADRACE_OUTCOMES: a cluster has the database 0 only; leave the path out")
    return Address("cluster", _tls(url), hosts), login


def _sentinel(url: str) -> tuple[Address, Login]:
    hosts, login = _network(url, _SENTINEL_PORT)
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdigit():
        raise SettingsError("HEADRACE_OUTCOMES: write redis+sentinel://host:port,host:port/service/database")
    same = parse_qs(parts.query).get("sentinel_login", ["no"])[-1] == "yes"
    return Address("sentinel", _tls(url) | {"db": int(database or 0)}, hosts, unquote(service), same), login


def _network(url: str, port: int) -> tuple[tuple[tuple[str, int], ...], Login]:
    login, _, hosts = urlsplit(url).netloc.rpartition("@")
    user, _, password = login.partition(":")
    try:
        found = tuple(_host(text, port) for text in hosts.split(","))
    except ValueError:
        raise SettingsError("HEADRACE_OUTCOMES: write its hosts as host:port,host:port") from None
    return found, _login(unquote(user), unquote(password))


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or port


def _tls(url: str) -> dict[str, Any]:
    return {"ssl": True} if url.startswith("rediss:") else {}


def _login(user: str, password: str) -> Login:
    if not user and not password:
        return ()
    return (user, password) if user else (password,)
