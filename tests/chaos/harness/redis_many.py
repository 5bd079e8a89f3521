"""Redis with replicas: watched by Sentinels, or as a cluster. Clients receive the addresses: no proxy can stand between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from redis.exceptions import RedisError

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.rabbit import Rabbit
from tests.chaos.harness.setups import OUTAGE, blocking
from tests.chaos.harness.system import Server
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisCluster, RedisServer, RedisWithSentinels, until

_AGAIN_WITHIN = 40.0  # seconds for a failover, and for the server that was unavailable to follow again


class _ManyServers(Rabbit):
    """RabbitMQ is well; harm is done to the Redis server that answers for the first of the jobs.

    forgetful: faults after which the new primary may not have what the old one had acknowledged: replicas follow asynchronously.
    """

    role = "outcomes"
    forgetful: tuple[str, ...] = ("kill", "stall 5 s", "stall 40 s", "rolling restart")
    many: RedisCluster | RedisWithSentinels

    async def open(self) -> None:
        self.rabbit, self.vhost = RabbitMQServer(self.folder / "rabbitmq"), ""
        self._database = 0
        await asyncio.gather(blocking(self.rabbit.start), blocking(self.many.start))

    async def close(self) -> None:
        await super(Rabbit, self).close()
        await blocking(self.rabbit.end)
        for server in self.everyone():
            with contextlib.suppress(OSError):
                server.cont()
        await blocking(self.many.kill)

    async def servers(self) -> dict[str, Server]:
        await self.make_empty()
        broker = await self.broker()
        return {"broker": Server("BROKER", broker), "outcomes": Server("OUTCOMES", self.many.url)}

    async def make_empty(self) -> None:
        await blocking(self.many.flush)

    async def harm(self, fault: str, program: str) -> Harm:
        return replace(await self._harm(fault), store_forgets=fault in self.forgetful)

    async def _harm(self, fault: str) -> Harm:
        primary = await asyncio.to_thread(self.primary)
        match fault:
            case "kill":
                return Harm(lambda: blocking(primary.kill), lambda: self._again(primary.start), OUTAGE + 6)
            case "stall 5 s":
                return Harm(lambda: blocking(primary.stop), lambda: self._again(primary.cont), 5.0)
            case "stall 40 s":
                return Harm(lambda: blocking(primary.stop), lambda: self._again(primary.cont), 40.0)
            case "leader change":
                return Harm(lambda: blocking(self.fail_over), lambda: self._again(lambda: None), 5.0)
            case "rolling restart":
                return Harm(self._each, lambda: self._again(lambda: None), 2.0)
        raise KeyError(fault)

    async def _each(self) -> None:
        for server in self.everyone():
            await blocking(server.kill)
            await blocking(server.start)
            await blocking(until, self.whole, "all servers are there again", _AGAIN_WITHIN)

    async def _again(self, act: Callable[[], None]) -> None:
        await blocking(act)
        await blocking(until, self.whole, "all servers are there again", _AGAIN_WITHIN)

    def everyone(self) -> list[RedisServer]:
        raise NotImplementedError

    def primary(self) -> RedisServer:
        """The one that answers."""
        raise NotImplementedError

    def fail_over(self) -> None:
        raise NotImplementedError

    def whole(self) -> bool:
        raise NotImplementedError


class Sentinels(_ManyServers):
    """A primary, a replica, three Sentinels."""

    # A primary that is well learns of its successor some seconds later, and is written to until then.
    forgetful = (*_ManyServers.forgetful, "leader change")
    many: RedisWithSentinels

    async def open(self) -> None:
        self.many = RedisWithSentinels(self.folder / "redis")
        await super().open()

    def everyone(self) -> list[RedisServer]:
        return [self.many.replica, self.many.primary, *self.many.sentinels]

    async def make_empty(self) -> None:
        await blocking(lambda: self.primary().ask("FLUSHALL"))

    def primary(self) -> RedisServer:
        return next(server for server in (self.many.primary, self.many.replica) if _role(server) == "master")

    def fail_over(self) -> None:
        self.many.sentinels[0].ask("SENTINEL", "FAILOVER", "headrace")

    def whole(self) -> bool:
        return sorted(_role(server) for server in (self.many.primary, self.many.replica)) == ["master", "slave"]


class Cluster(_ManyServers):
    """Three primaries with a replica each."""

    many: RedisCluster

    async def open(self) -> None:
        self.many = RedisCluster(self.folder / "redis")
        await super().open()

    def everyone(self) -> list[RedisServer]:
        return list(self.many.nodes)

    def primary(self) -> RedisServer:
        """Of three: a third of all jobs, and each of the controller's keys that happens to be there."""
        return self.many.primary_of("headrace:journal")

    def fail_over(self) -> None:
        """The replicas of all primaries take over, one after another."""
        for replica in [node for node in self.many.nodes if _role(node) == "slave"]:
            replica.ask("CLUSTER", "FAILOVER")

    def whole(self) -> bool:
        roles = [_role(node) for node in self.many.nodes]
        states = [_cluster_state(node) for node in self.many.nodes]
        return roles.count("master") == 3 and roles.count("slave") == 3 and set(states) == {"ok"}


def _role(server: RedisServer) -> str:
    try:
        told = server.ask("ROLE")
    except RedisError:
        return ""
    assert isinstance(told, (list, tuple))
    return str(told[0])


def _cluster_state(server: RedisServer) -> str:
    try:
        told = server.ask("CLUSTER INFO")
    except RedisError:
        return ""
    assert isinstance(told, dict)
    return str(told["cluster_state"])
