"""RabbitMQ, one node; outcomes in a Redis that nothing happens to."""

from __future__ import annotations

import asyncio
import shutil
import uuid

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.setups import OUTAGE, Setup, blocking
from tests.chaos.harness.system import Server
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer


class Rabbit(Setup):
    """A virtual host and a database number for each system."""

    async def open(self) -> None:
        self.rabbit, self.redis = RabbitMQServer(self.folder / "rabbitmq"), RedisServer(self.folder / "redis")
        self.vhost, self._database = "", 0
        await asyncio.gather(blocking(self.rabbit.start), blocking(self.redis.start))

    async def close(self) -> None:
        await super().close()
        await blocking(self.rabbit.end)
        await blocking(self.redis.kill)

    async def servers(self) -> dict[str, Server]:
        self._database += 1
        outcomes = Server("OUTCOMES", f"redis://127.0.0.1:{self.redis.port}/{self._database % 16}")
        return {"broker": Server("BROKER", await self.broker(), (self.rabbit.port,)), "outcomes": outcomes}

    async def broker(self) -> str:
        """The URL of a new virtual host."""
        self.vhost = uuid.uuid4().hex
        await blocking(self.make_vhost)
        return f"{self.rabbit.url}{self.vhost}"

    def make_vhost(self) -> None:
        name = self.vhost
        self.rabbit.ctl("eval", f'rabbit_vhost:add(<<"{name}">>, <<"test">>), rabbit_auth_backend_internal:set_permissions('
                        f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>).')  # fmt: skip

    async def left(self) -> dict[str, int]:
        return await asyncio.to_thread(messages, self.rabbit, self.vhost)

    async def harm(self, fault: str, program: str) -> Harm:
        rabbit = self.rabbit
        match fault:
            case "kill":
                return Harm(lambda: blocking(rabbit.kill), lambda: blocking(rabbit.start), OUTAGE)
            case "restart empty":
                return Harm(lambda: blocking(rabbit.kill), lambda: blocking(self._start_empty), OUTAGE, broker_forgets=True)
            case "rolling restart":
                return Harm(lambda: blocking(shut_down, rabbit), lambda: blocking(rabbit.start), 0.0)
            case "disk full":
                return self._limit(("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB"))
            case "memory alarm":
                return self._limit(("set_vm_memory_high_watermark", "0.000001"), ("set_vm_memory_high_watermark", "0.6"))
        return await super().harm(fault, program)

    def _limit(self, raise_alarm: tuple[str, ...], clear_it: tuple[str, ...]) -> Harm:
        return Harm(lambda: blocking(self.rabbit.ctl, *raise_alarm), lambda: blocking(self.rabbit.ctl, *clear_it), 8.0)

    def _start_empty(self) -> None:
        shutil.rmtree(self.folder / "rabbitmq" / "mnesia")
        self.rabbit.start()
        self.make_vhost()


def shut_down(rabbit: RabbitMQServer) -> None:
    """As an operator does it: it tells its clients, and closes its files."""
    rabbit.ctl("stop")
    rabbit.kill()  # sees it end


def messages(rabbit: RabbitMQServer, vhost: str) -> dict[str, int]:
    """In each queue that has some: ready, delayed, and held by consumers."""
    rows = [line.split() for line in rabbit.ctl("list_queues", "--silent", "-p", vhost, "name", "messages").splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and int(row[1])}
