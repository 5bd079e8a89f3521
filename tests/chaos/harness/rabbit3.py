"""Three RabbitMQ nodes; each program is led to one that lives, as by a Service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.rabbit import Rabbit, messages, shut_down
from tests.chaos.harness.setups import OUTAGE, blocking
from tests.chaos.harness.system import Server
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.rabbitmq_cluster import RabbitMQCluster
from tests.servers.redis import RedisServer


class Rabbit3(Rabbit):
    """Programs are connected to the first node while it lives, so that harm to it is harm to each of them."""

    async def open(self) -> None:
        self.cluster, self.redis = RabbitMQCluster(self.folder / "cluster"), RedisServer(self.folder / "redis")
        self.vhost, self._database = "", 0
        await asyncio.gather(blocking(self.cluster.start), blocking(self.redis.start))
        self.rabbit = self.cluster.nodes[0]

    async def close(self) -> None:
        await super(Rabbit, self).close()
        await blocking(self.cluster.end)
        await blocking(self.redis.kill)

    async def servers(self) -> dict[str, Server]:
        servers = await super().servers()
        ports = tuple(node.port for node in self.cluster.nodes)
        return servers | {"broker": Server("BROKER", servers["broker"].url, ports)}

    async def left(self) -> dict[str, int]:
        return await asyncio.to_thread(messages, self.cluster.nodes[-1], self.vhost)

    async def harm(self, fault: str, program: str) -> Harm:
        node = self.cluster.nodes[0]
        match fault:
            case "kill":
                return Harm(lambda: blocking(node.kill), lambda: blocking(node.start), OUTAGE)
            case "stall 5 s":
                return Harm(lambda: blocking(node.stop), lambda: blocking(node.cont), 5.0)
            case "stall 40 s":
                return Harm(lambda: blocking(node.stop), lambda: blocking(node.cont), 40.0)
            case "disk full":
                return self._limit(("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB"))
            case "memory alarm":
                return self._limit(("set_vm_memory_high_watermark", "0.000001"), ("set_vm_memory_high_watermark", "0.6"))
            case "leader change":
                return Harm(lambda: blocking(self._move_leaders), _nothing, 5.0)
            case "rolling restart":
                return Harm(lambda: self._each(self._restart), _nothing, 2.0)
        raise KeyError(fault)

    def _move_leaders(self) -> None:
        """Of the queues that are used, to the second node."""
        target = self.cluster.nodes[1].name
        for queue in ("alpha", "beta", "gamma"):
            resource = f'rabbit_misc:r(<<"{self.vhost}">>, queue, <<"{queue}">>)'
            change = f"{{ok, Q}} = rabbit_amqqueue:lookup({resource}), rabbit_quorum_queue:transfer_leadership(Q, '{target}')."
            self.rabbit.ctl("eval", change)

    async def _each(self, act: Callable[[RabbitMQServer], None]) -> None:
        for node in self.cluster.nodes:
            await blocking(act, node)

    def _restart(self, node: RabbitMQServer) -> None:
        shut_down(node)
        node.start()
        node.ctl("await_online_nodes", "3", "--timeout", "60")


async def _nothing() -> None:
    return
