"""Does a consumer's memory grow with its queue? `make bench-backlog`.

The same consumer, with a handler that does nothing, on a queue of a thousand and on one of a million messages: its resident memory
once it is busy, on RabbitMQ and on SQLite.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from pathlib import Path

from bench.smoke import consumer_program, publish_backlog, ready, settled
from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer

SMALL, LARGE = 1_000, 1_000_000
SECONDS = 10.0


def resident_mib(pid: int) -> float:
    """Resident memory (proc(5), VmRSS)."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def measure(name: str, broker: str, backlog: int, folder: Path) -> dict[str, object]:
    await publish_backlog(broker, backlog)
    port = free_port()
    most = 0.0
    with consumer_program(broker, "none:", port, folder) as pid:
        await ready(f"http://127.0.0.1:{port}/readyz")
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and await settled(port) < backlog:
            most = max(most, resident_mib(pid))
            await asyncio.sleep(0.2)
        done = await settled(port)
    return {"what": f"a consumer's memory, {name}", "backlog": backlog, "settled": int(done), "most_resident_mib": round(most, 1)}


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        rabbit = RabbitMQServer(folder / "rabbitmq")
        rabbit.start()
        try:
            for backlog in (SMALL, LARGE):
                print(json.dumps(await measure("RabbitMQ", rabbit.vhost(), backlog, folder)), flush=True)
                print(json.dumps(await measure("SQLite", f"sqlite:///{folder}/{backlog}.db", backlog, folder)), flush=True)
        finally:
            rabbit.end()


if __name__ == "__main__":
    asyncio.run(main())
