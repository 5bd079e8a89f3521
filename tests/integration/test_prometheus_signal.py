"""The Prometheus signal on a real server, and on ones that answer wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from autoscaler.model import Figure
from autoscaler.signals.prometheus import PrometheusSignal
from core.clock import SystemClock
from core.errors import SignalError
from tests.servers import free_port
from tests.servers.prometheus import PrometheusServer

METRICS = """headrace_deliveries_in_flight{queue="email"} 3
headrace_deliveries_held{queue="email"} 7
headrace_deliveries_in_flight{queue="points"} 0
"""


@asynccontextmanager
async def serving(path: str, body: str, status: int = 200) -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    app = web.Application()
    app.router.add_get(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield port
    await runner.cleanup()


@asynccontextmanager
async def opened(url: str, selector: str = "") -> AsyncIterator[PrometheusSignal]:
    signal = PrometheusSignal(lambda: url, SystemClock(), 2.0, selector)
    await signal.open()
    yield signal
    await signal.close()


TWO_RELEASES = """headrace_deliveries_in_flight{queue="email",namespace="jobs",release="ours"} 3
headrace_deliveries_in_flight{queue="email",namespace="jobs",release="theirs"} 500
headrace_deliveries_held{queue="email",namespace="jobs",release="theirs"} 700
headrace_wait_seconds_sum{queue="email",namespace="jobs",release="theirs"} 700
headrace_wait_seconds_count{queue="email",namespace="jobs",release="theirs"} 7
"""


async def test_a_server_that_knows_another_release(tmp_path: Path, prometheus_server: type[PrometheusServer]) -> None:
    async with serving("/metrics", TWO_RELEASES) as port:
        server = prometheus_server(tmp_path, f"127.0.0.1:{port}")
        server.start()
        ours = opened(server.url, 'namespace="jobs",release="ours"')
        async with opened(server.url) as all_series, ours as signal, asyncio.timeout(30):
            while not (seen := await _looked(all_series, "email")):
                await asyncio.sleep(0.1)
            assert seen["in_flight"].value == 503
            assert {name: figure.value for name, figure in (await _looked(signal, "email")).items()} == {"in_flight": 3}


async def _looked(signal: PrometheusSignal, queue: str) -> Mapping[str, Figure]:
    """Nothing while the server starts."""
    try:
        seen = await signal.look([queue])
    except SignalError:
        return {}
    return seen[queue].figures if queue in seen else {}


async def test_a_real_server(tmp_path: Path, prometheus_server: type[PrometheusServer]) -> None:
    async with serving("/metrics", METRICS) as port:
        server = prometheus_server(tmp_path, f"127.0.0.1:{port}")
        server.start()
        async with opened(server.url) as signal, asyncio.timeout(30):
            while not await _looked(signal, "email"):
                await asyncio.sleep(0.1)
            seen = await signal.look(["email", "points", "payouts"])
    assert {name: figure.value for name, figure in seen["email"].figures.items()} == {"in_flight": 3, "unacked": 7}
    assert seen["points"].figures["in_flight"].value == 0
    assert "unacked" not in seen["points"].figures, "not told is not 0"
    assert "payouts" not in seen
    assert seen["email"].figures["in_flight"].at <= SystemClock().steady()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ('{"status":"error","error":"parse error"}', 400, "answers 400"),
        ("<html>", 200, "HEADRACE_PROMETHEUS_URL"),
        ('{"data": {}}', 200, "HEADRACE_PROMETHEUS_URL"),
        ("[]", 200, "HEADRACE_PROMETHEUS_URL"),
    ],
)
async def test_a_wrong_answer_is_told(body: str, status: int, said: str) -> None:
    async with serving("/api/v1/query", body, status) as port, opened(f"http://127.0.0.1:{port}") as signal:
        with pytest.raises(SignalError, match=said):
            await signal.look(["email"])


async def test_nobody_there_is_told() -> None:
    async with opened(f"http://127.0.0.1:{free_port()}") as signal:
        with pytest.raises(SignalError, match="does not answer"):
            await signal.look(["email"])
