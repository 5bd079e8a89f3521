"""Three RabbitMQ nodes on one machine, as one cluster."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer

SIZE = 3


class RabbitMQCluster:
    """Nodes that find each other by their configuration; the side of a partition that has no majority stands still."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[RabbitMQServer] = []
        name_server, cookie = free_port(), secrets.token_hex(10).upper()
        for n in range(SIZE):
            known = [node.name for node in self.nodes]
            node = RabbitMQServer(folder / f"node-{n + 1}", name_server=name_server, more=_configuration(known[:1]))
            secret = folder / f"node-{n + 1}" / ".erlang.cookie"
            secret.write_text(cookie)
            secret.chmod(0o400)  # Erlang refuses one that others may read
            self.nodes.append(node)

    def start(self) -> None:
        """The first one makes the cluster, the others join it."""
        self.nodes[0].start()
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(RabbitMQServer.start, self.nodes[1:]))
        # A node that joined last may not be known to the first one yet.
        for node in self.nodes:
            node.ctl("await_online_nodes", str(SIZE), "--timeout", "60")

    def end(self) -> None:
        for node in self.nodes:
            node.cont()
        for node in self.nodes:
            node.end()


def _configuration(peers: list[str]) -> str:
    lines = ["cluster_partition_handling = pause_minority"]
    if peers:
        lines.append("cluster_formation.peer_discovery_backend = classic_config")
        lines += [f"cluster_formation.classic_config.nodes.{n} = {peer}" for n, peer in enumerate(peers, 1)]
        lines.append("cluster_formation.randomized_startup_delay_range.min = 0")
        lines.append("cluster_formation.randomized_startup_delay_range.max = 1")
    return "\n".join(lines) + "\n"
