"""The whole system on RabbitMQ and Redis, with the broker killed and restarted, and a consumer killed, in the middle of a demo."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer


async def consumers_of(server: RabbitMQServer, queue: str) -> int:
    listed = await asyncio.to_thread(server.ctl, "list_queues", "--silent", "name", "consumers")
    rows = [line.split() for line in listed.splitlines()]
    return next((int(row[1]) for row in rows if row[:1] == [queue]), 0)


@pytest.mark.timeout(240)
async def test_a_demo_survives_a_restart_of_the_broker_and_a_kill_of_a_consumer(
    own_rabbitmq: RabbitMQServer, own_redis: RedisServer
) -> None:
    command = [sys.executable, "-m", "cli", "demo", "--users", "600", "--json", "--kill-consumer"]
    command += ["--broker", own_rabbitmq.url, "--outcomes", own_redis.url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    talking = asyncio.ensure_future(process.communicate())
    # Once the last queue has its consumer everything is declared, and work flows. A node that is killed while it makes a quorum
    # queue may keep its name without its log: a new declaration of it succeeds, and no publish is ever confirmed.
    async with asyncio.timeout(60):
        while await consumers_of(own_rabbitmq, "points") == 0:
            assert not talking.done()
    await asyncio.to_thread(own_rabbitmq.kill)
    await asyncio.to_thread(own_rabbitmq.start)
    out, err = await asyncio.wait_for(talking, 150)
    report = json.loads(out.decode().splitlines()[-1])
    assert process.returncode == 0, err.decode()
    assert (report["accepted"], report["succeeded"], report["dead"]) == (600, 588, 12)
    assert (report["lost"], report["duplicated_effects"]) == (0, 0)
