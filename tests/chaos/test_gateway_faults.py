"""The gateway as a process, with its broker or its outcome store stalled, killed or blocked: real servers, real requests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

USER = {"user_id": 42, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}
PUBLISH_TIMEOUT = 1.0


class Gateway:
    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url = url
        self._client = client

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        async with self._client.request(method, self.url + path, **more) as answer:
            body = await answer.json(content_type=None) if "json" in answer.headers["content-type"] else await answer.text()
            return answer.status, answer.headers, body

    async def submit(self) -> tuple[int, Any, Any]:
        return await self.ask("POST", "/v1/jobs/user.registered", json=USER)

    async def until_ready(self, status: int) -> dict[str, str]:
        """Wait for /readyz to answer `status`; its document."""
        async with asyncio.timeout(60):
            while True:
                try:
                    got, _, document = await self.ask("GET", "/readyz")
                    if got == status:
                        return dict(document)
                except aiohttp.ClientError:
                    pass  # not listening yet
                await asyncio.sleep(0.05)

    async def refused_within_the_timeout(self) -> str:
        """A submit is answered 503, with Retry-After and a problem document, in bounded time; its detail."""
        # Publish timeout and record wait, and as much again for a busy machine: a bound, not a measurement.
        status, headers, problem = await asyncio.wait_for(self.submit(), 4 * PUBLISH_TIMEOUT + 4)
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert int(headers["Retry-After"]) > 0
        assert problem["type"] in ("/problems/not-confirmed", "/problems/busy")
        return str(problem["detail"])


@asynccontextmanager
async def gateway(broker: str, outcomes: str, log: Path) -> AsyncIterator[Gateway]:
    port = free_port()
    environment = os.environ | {
        "HEADRACE_BROKER": broker,
        "HEADRACE_OUTCOMES": outcomes,
        "HEADRACE_PORT": str(port),
        "HEADRACE_PUBLISH_TIMEOUT": str(PUBLISH_TIMEOUT),
        "HEADRACE_STORE_TIMEOUT": "0.5",
    }
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "service", env=environment, stderr=file)
    async with aiohttp.ClientSession() as client:
        yield Gateway(f"http://127.0.0.1:{port}", client)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


@pytest.mark.cell
async def test_a_broker_that_is_stalled_blocked_or_killed(own_rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    async with gateway(own_rabbitmq.url, "none:", tmp_path / "log") as gate:
        await gate.until_ready(200)
        assert (await gate.submit())[0] == 202

        own_rabbitmq.stop()
        await gate.refused_within_the_timeout()
        assert "answer" in (await gate.until_ready(503))["broker"] or "confirm" in (await gate.until_ready(503))["broker"]
        await gate.refused_within_the_timeout()
        own_rabbitmq.cont()
        await gate.until_ready(200)
        assert (await gate.submit())[0] == 202

        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.000001")
        async with asyncio.timeout(20):
            while "alarm" not in await gate.refused_within_the_timeout():
                await asyncio.sleep(0.1)  # the broker blocks a connection when it publishes
        assert "alarm" in (await gate.until_ready(503))["broker"]
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.6")
        await gate.until_ready(200)
        assert (await gate.submit())[0] == 202

        await asyncio.to_thread(own_rabbitmq.kill)
        await gate.until_ready(503)
        await gate.refused_within_the_timeout()
        await asyncio.to_thread(own_rabbitmq.start)
        await gate.until_ready(200)
        assert (await gate.submit())[0] == 202


@pytest.mark.cell
async def test_an_outcome_store_that_is_stalled_or_killed_refuses_no_job(
    rabbitmq: RabbitMQServer, own_redis: RedisServer, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with gateway(rabbitmq.vhost(), own_redis.url, log) as gate:
        await gate.until_ready(200)
        for take_away, give_back in ((own_redis.stop, own_redis.cont), (own_redis.kill, own_redis.start)):
            _, headers, _ = await gate.submit()
            assert (await gate.ask("GET", headers["Location"]))[0] == 200
            await asyncio.to_thread(take_away)
            statuses = [status for status, _, _ in await asyncio.gather(*(gate.submit() for _ in range(20)))]
            assert statuses == [202] * 20
            status, headers_of_503, problem = await gate.ask("GET", headers["Location"])
            assert (status, problem["type"]) == (503, "/problems/store-unavailable")
            assert "Retry-After" in headers_of_503
            ready = await gate.until_ready(200)
            assert ready["outcomes"].startswith("away")
            _, _, metrics = await gate.ask("GET", "/metrics")
            assert 'headrace_queued_records_total{result="failed"}' in metrics
            assert "headrace_outcome_store_up 0.0" in metrics
            await asyncio.to_thread(give_back)
            async with asyncio.timeout(20):
                while (await gate.ask("GET", headers["Location"]))[0] != 200:
                    await asyncio.sleep(0.05)
    assert log.read_text().count("the outcome store is away") == 1, "said once a period, not once a job"


@pytest.mark.cell
async def test_a_gateway_that_starts_before_its_broker(own_rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    await asyncio.to_thread(own_rabbitmq.kill)
    password = "s3cret-pa55"
    url = own_rabbitmq.url.replace("guest:guest", f"guest:{password}")
    async with gateway(url, f"redis://:{password}@127.0.0.1:{free_port()}/0", tmp_path / "log") as gate:
        assert (await gate.until_ready(503))["broker"]
        detail = await gate.refused_within_the_timeout()
        _, _, document = await gate.ask("GET", "/readyz")
        assert password not in f"{detail}{document}"
    assert "trying again" in (tmp_path / "log").read_text()
    assert password not in (tmp_path / "log").read_text()
