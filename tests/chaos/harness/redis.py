"""Redis, one server, behind a RabbitMQ that nothing happens to."""

from __future__ import annotations

import contextlib
import shutil

import redis

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.rabbit import Rabbit
from tests.chaos.harness.setups import OUTAGE, blocking
from tests.chaos.harness.small import SmallDisk
from tests.chaos.harness.system import Server
from tests.servers.redis import RedisServer


class Redis(Rabbit):
    """Its folder is a small disk, where that can be mounted: one that can be full."""

    role = "outcomes"

    async def open(self) -> None:
        self.disk = SmallDisk(self.folder / "disk", megabytes=64)
        self.disk.mount()
        await super().open()
        await blocking(self.redis.kill)
        self.redis = RedisServer(self.folder / "disk" / "redis")
        await blocking(self.redis.start)

    async def close(self) -> None:
        await super().close()
        self.disk.unmount()

    async def servers(self) -> dict[str, Server]:
        servers = await super().servers()
        outcomes = servers["outcomes"].url
        return {"broker": Server("BROKER", servers["broker"].url), "outcomes": Server("OUTCOMES", outcomes, (self.redis.port,))}

    async def harm(self, fault: str, program: str) -> Harm:
        server = self.redis
        match fault:
            case "kill":
                return Harm(lambda: blocking(server.kill), lambda: blocking(server.start), OUTAGE)
            case "restart empty":
                return Harm(lambda: blocking(server.kill), lambda: blocking(self._start_without_data), OUTAGE, store_forgets=True)
            case "rolling restart":
                return Harm(lambda: blocking(self._shut_down), lambda: blocking(server.start), 0.0)
            case "disk full":
                # With `appendfsync always`, as these tests have it elsewhere, Redis ends when its disk is full; with its default
                # it refuses writes.
                await self._config("appendfsync", "everysec")
                return Harm(lambda: blocking(self.disk.fill), lambda: blocking(self.disk.clear), 10.0)
            case "memory alarm":
                return Harm(lambda: self._config("maxmemory", "1"), lambda: self._config("maxmemory", "0"), 8.0)
        return await super(Rabbit, self).harm(fault, program)

    async def _config(self, name: str, value: str) -> None:
        await blocking(self.redis.ask, "CONFIG", "SET", name, value)

    def _shut_down(self) -> None:
        """As an operator does it: the data in memory are written first."""
        with contextlib.suppress(redis.exceptions.ConnectionError):  # which is the answer
            self.redis.ask("SHUTDOWN")
        self.redis.kill()  # sees it end

    def _start_without_data(self) -> None:
        shutil.rmtree(self.folder / "disk" / "redis" / "appendonlydir")
        self.redis.start()
