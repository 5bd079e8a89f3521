"""Clients of Redis whose user and password are read again for each connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio as aioredis
from redis._parsers import AsyncCommandsParser
from redis.asyncio.cluster import ClusterNode, NodesManager, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from adapters.redis.address import Address, Login, parse
from core.errors import SettingsError
from core.secret_url import Url, anew
from core.settings import Settings
from telemetry import logs

_log = logs.get("redis")

Client = aioredis.Redis | RedisCluster
Close = Callable[[], Awaitable[None]]


def client(url: Url, settings: Settings, connections: int) -> tuple[Client, tuple[tuple[str, int], ...], list[Close]]:
    """A client, the nodes of a cluster that the URL names, and what closes the client. Short timeouts, and nothing is retried here:
    the callers know what may be repeated.

    connections: the maximum to one server.
    """
    credentials = Credentials(url)
    address, timeout = credentials.address, settings.store_timeout
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    options = dict(address.options) | _trust(address, settings.ca_file)
    servers: dict[str, Any] = common | {"credential_provider": credentials, "max_connections": connections} | options
    match address.kind:
        case "cluster":
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            cluster = RedisCluster(startup_nodes=nodes, **servers)
            # redis-py's own close does nothing while its map is to be read again.
            nodes_of = cluster.nodes_manager
            cluster.commands_parser = _Commands(nodes_of)
            return cluster, address.hosts, [cluster.aclose, nodes_of.aclose, lambda: nodes_of.aclose("startup_nodes")]
        case "sentinel":
            asked = common | {name: value for name, value in options.items() if name in ("ssl", _TRUSTED)}
            asked |= {"credential_provider": credentials} if address.sentinel_login else {}
            sentinel = Sentinel(list(address.hosts), sentinel_kwargs=asked)  # type: ignore[no-untyped-call]  # redis-py's own
            primary: aioredis.Redis = sentinel.master_for(address.service, **servers)
            return primary, (), [primary.aclose, sentinel.aclose]
    pool = aioredis.ConnectionPool(**servers)
    single = aioredis.Redis.from_pool(pool)
    return single, (), [single.aclose]


_TRUSTED = "ssl_ca_certs"  # redis-py trusts them beside the system's


def _trust(address: Address, ca_file: str) -> dict[str, Any]:
    """Nothing where the URL itself names authorities."""
    named = any(name.startswith("ssl_ca_") for name in address.options)
    return {_TRUSTED: ca_file} if ca_file and address.tls and not named else {}


class _Commands(AsyncCommandsParser):
    """Which arguments of a command are its keys: the answer of any primary. redis-py asks the first one of its map alone, each time
    that it has read the map; while that one is dead, it can use none of the others."""

    def __init__(self, nodes: NodesManager) -> None:
        super().__init__()
        self._nodes = nodes
        self._answered: ClusterNode | None = None  # a server that is silent costs a timeout: it is not asked first again

    async def initialize(self, node: ClusterNode | None = None) -> None:  # noqa: ARG002  # redis-py names it
        """The first that answers is also the one that redis-py asks for what is of no slot. Raises what the last one raised."""
        known = self._nodes.get_nodes_by_server_type("primary")
        known.sort(key=lambda one: one is not self._answered)
        for one in known:
            try:
                await super().initialize(one)
            except (RedisError, OSError):
                if one is known[-1]:
                    raise
            else:
                self._nodes.default_node = self._answered = one
                return


class Credentials(CredentialProvider):
    """address: where the URL led when it was first read. A pool knows one place: another one needs a restart."""

    def __init__(self, url: Url) -> None:
        self._url = anew(url)
        self._moved = False
        self.address, self._login = parse(self._url())

    def get_credentials(self) -> Login:  # type: ignore[override]  # () for no login: redis-py then sends no AUTH
        """User and password, as Redis' AUTH takes them; nothing at all for a URL without them."""
        try:
            address, self._login = parse(self._url())
        except SettingsError as error:
            _log.error("the login of the URL before is kept", why=str(error))
            return self._login
        if address != self.address and not self._moved:
            self._moved = True  # once: it stays so until the restart
            _log.warning("the URL of HEADRACE_OUTCOMES leads to another server or database now: that needs a restart")
        return self._login

    async def get_credentials_async(self) -> Login:  # type: ignore[override]
        return self.get_credentials()
