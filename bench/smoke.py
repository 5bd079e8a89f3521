"""A first benchmark: confirmed submits, and consumed deliveries, with the CPU that each costs. `make bench-smoke`.

Everything runs on this machine, in one sitting: private servers, the programs as processes, and the load (wrk). Figures of one
run may be compared with each other; with those of another machine only as ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from adapters import choose
from core import project
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.ports import Message
from core.settings import Settings
from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

SECONDS = 8
CONNECTIONS = 64
BACKLOG = 30_000
BODY = b'{"user_id": 42, "email": "ada@example.com", "name": "Ada Lovelace", "registered_at": "2026-01-31T09:30:00Z"}'
ORDER = b'{"order_id": 1, "user_id": 2, "amount": "10.00", "currency": "EUR"}'
LUA = f"""wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{BODY.decode()}'
"""
NO_OP = '''"""A handler that does nothing, in the place of the shipped one."""
from consumer import Context, handler
from app.contracts.order_settled import OrderSettled

@handler("order.settled", queue="payouts")
async def settle(order: OrderSettled, ctx: Context) -> None:
    return None
'''


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def program(module: str, environment: dict[str, str], folder: Path, cwd: Path | None = None) -> Iterator[int]:
    with (folder / f"{module}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module], env=os.environ | environment, stdout=log, stderr=log, cwd=cwd)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(40)


async def ready(url: str) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)


async def submits(name: str, broker: str, outcomes: str, folder: Path) -> dict[str, object]:
    """wrk against the gateway: 202 a second, and the gateway's CPU for each."""
    port = free_port()
    environment = {"HEADRACE_BROKER": broker, "HEADRACE_OUTCOMES": outcomes, "HEADRACE_PORT": str(port)}
    script = folder / "post.lua"
    script.write_text(LUA)
    with program("service", environment, folder) as pid:
        await ready(f"http://127.0.0.1:{port}/readyz")
        url = f"http://127.0.0.1:{port}/v1/jobs/user.registered"
        load = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d", f"{SECONDS}s", "-s", str(script), "--latency", url]
        await asyncio.to_thread(subprocess.run, [*load[:4], "2s", *load[5:]], check=True, capture_output=True)
        before = await accepted(port), cpu_seconds(pid)
        out = await asyncio.to_thread(subprocess.run, load, check=True, capture_output=True, text=True)
        done, cpu = await accepted(port) - before[0], cpu_seconds(pid) - before[1]
    p99 = next((line.split()[1] for line in out.stdout.splitlines() if line.strip().startswith("99%")), "?")
    return {"what": f"submits, {name}", "per_s": round(done / SECONDS), "cpu_us_each": round(cpu / done * 1e6), "p99": p99}


async def accepted(port: int) -> float:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("headrace_jobs_accepted_total{"))


async def consumed(name: str, broker: str, outcomes: str, folder: Path) -> dict[str, object]:
    """A backlog, then a consumer with a handler that does nothing."""
    await publish_backlog(broker, BACKLOG)
    port = free_port()
    with consumer_program(broker, outcomes, port, folder) as pid:
        await ready(f"http://127.0.0.1:{port}/readyz")
        before, began = (await settled(port), cpu_seconds(pid)), time.perf_counter()
        async with asyncio.timeout(120):
            while (count := await settled(port)) < BACKLOG:
                await asyncio.sleep(0.2)  # asking costs the consumer 3 ms each time
        took, cpu = time.perf_counter() - began, cpu_seconds(pid) - before[1]
    done = count - before[0]
    return {"what": f"consumed, {name}", "per_s": round(done / took), "cpu_us_each": round(cpu / done * 1e6)}


@contextlib.contextmanager
def consumer_program(broker: str, outcomes: str, port: int, folder: Path) -> Iterator[int]:
    """A consumer of a copy of the project whose handler does nothing; its pid."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    for package in ("app", "consumer", "core", "adapters", "telemetry"):
        shutil.copytree(Path(package), copy / package)
    (copy / "app/handlers/payouts.py").write_text(NO_OP)
    environment = {
        "HEADRACE_BROKER": broker,
        "HEADRACE_OUTCOMES": outcomes,
        "HEADRACE_PROBE_PORT": str(port),
        "HEADRACE_QUEUES": "payouts",
        "HEADRACE_CONCURRENCY": "256",
        "PYTHONPATH": str(copy),
    }
    with program("consumer", environment, folder, copy) as pid:
        yield pid


async def settled(port: int) -> float:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    wanted = 'headrace_deliveries_total{queue="payouts",settlement="succeeded"}'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))


async def publish_backlog(url: str, count: int) -> None:
    settings = Settings(broker=url, connect_timeout=30)
    broker = choose.broker(settings, project.catalogue().topology())
    await broker.open()
    for _ in range(count // 500):
        window = []
        for _ in range(500):
            envelope = Envelope(new_job_id(), "order.settled", SystemClock().wall())
            window.append(Message(envelope.job_id, "order.settled", envelope.headers(), ORDER))
        await asyncio.gather(*broker.publish(window))
    await broker.close()


async def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed for the load: apt-get install wrk")
    rows = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        rabbit, redis = RabbitMQServer(folder / "rabbitmq"), RedisServer(folder / "redis")
        rabbit.start()
        redis.start()
        try:
            rows.append(await submits("RabbitMQ, no outcomes", rabbit.vhost(), "none:", folder))
            rows.append(await submits("RabbitMQ, Redis", rabbit.vhost(), redis.url, folder))
            embedded = f"sqlite:///{folder}/submits.db"
            rows.append(await submits("SQLite", embedded, embedded, folder))
            rows.append(await consumed("RabbitMQ, no outcomes", rabbit.vhost(), "none:", folder))
            rows.append(await consumed("RabbitMQ, Redis", rabbit.vhost(), redis.url, folder))
            embedded = f"sqlite:///{folder}/consumed.db"
            rows.append(await consumed("SQLite", embedded, embedded, folder))
        finally:
            redis.kill()
            rabbit.end()
    print(f"{os.cpu_count()} cores, shared with servers and load; {CONNECTIONS} connections, {SECONDS} s, {BACKLOG:,} jobs")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    asyncio.run(main())
