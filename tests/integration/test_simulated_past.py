"""`headrace simulate --from-prometheus` on a real server, whose blocks are filled with what two consumers would have exported."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import pytest
from aiohttp import web

from cli import prometheus
from cli.history import Past, past
from cli.prometheus import PrometheusError
from core.clock import rfc3339
from telemetry.metrics import HANDLER_SECONDS, WAIT_SECONDS
from tests.integration.command_line import run
from tests.servers import find, free_port
from tests.servers.prometheus import PrometheusServer

BEGIN = 1_750_000_000.0  # Unix seconds
HOURS = 8  # more than one stretch of a question
END = BEGIN + HOURS * 3600.0
SCRAPE = 15
WAIT = 40.0  # seconds, of each job: two scrapes and more
SHORT, LONG = "mail.short", "mail.long"
GAP = (BEGIN + 5 * 3600, BEGIN + 5 * 3600 + 1200)
BOUNDS = HANDLER_SECONDS._upper_bounds


@dataclass
class Counters:
    """One process of a consumer."""

    pod: str
    began: int = 0
    waited: float = 0.0
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys((SHORT, LONG), 0))
    took: dict[str, float] = field(default_factory=lambda: dict.fromkeys((SHORT, LONG), 0.0))
    buckets: dict[tuple[str, float], int] = field(default_factory=dict)

    def run(self, kind: str, seconds: float, first: bool = True) -> None:
        self.began += first
        self.waited += WAIT * first
        self.ended[kind] += 1
        self.took[kind] += seconds
        for bound in BOUNDS:
            if seconds <= bound:
                self.buckets[kind, bound] = self.buckets.get((kind, bound), 0) + 1

    def lines(self, at: float, release: str = "ours") -> Iterator[tuple[str, str]]:
        """Metric, and its line."""
        of = f'pod="{self.pod}",queue="email",release="{release}"'
        yield "wait", f"headrace_wait_seconds_count{{{of}}} {self.began} {at}"
        yield "wait", f"headrace_wait_seconds_sum{{{of}}} {self.waited} {at}"
        for kind in (SHORT, LONG):
            yield "handler", f'headrace_handler_seconds_count{{{of},job_type="{kind}"}} {self.ended[kind]} {at}'
            yield "handler", f'headrace_handler_seconds_sum{{{of},job_type="{kind}"}} {self.took[kind]} {at}'
            for bound in BOUNDS:
                le = "+Inf" if bound == math.inf else f"{bound}"
                labels = f'{of},job_type="{kind}",le="{le}"'
                yield "handler", f"headrace_handler_seconds_bucket{{{labels}}} {self.buckets.get((kind, bound), 0)} {at}"


def arriving(at: float) -> float:
    """Jobs/s that begin: 1, and 3 in each second hour."""
    return 3.0 if int((at - BEGIN) // 3600) % 2 else 1.0


def exported(retries: int = 0) -> str:
    """OpenMetrics of the range: `a` lives throughout and starts again after two hours, `b` comes after one; none is seen in GAP.

    retries: runs for each job beside the first.
    """
    rng, a, b = Random(5), Counters("a"), Counters("b")
    found: dict[str, list[str]] = {"wait": [], "handler": []}
    for number in range(int((END - BEGIN) / SCRAPE) + 1):
        at = BEGIN + number * SCRAPE
        if at == BEGIN + 7200:
            a = Counters("a")
        pods = [a] if at <= BEGIN + 3600 else [a, b]
        for job in range(round(arriving(at - SCRAPE) * SCRAPE) if number else 0):
            kind = LONG if job % 5 == 0 else SHORT
            for turn in range(1 + retries):
                pods[job % len(pods)].run(kind, rng.uniform(35.0, 55.0) if kind == LONG else 0.2, first=turn == 0)
        if not GAP[0] < at < GAP[1]:
            for pod in pods:
                for metric, line in pod.lines(at):
                    found[metric].append(line)
    lines = []
    for metric, of in found.items():
        lines += [f"# TYPE headrace_{metric}_seconds histogram", *of]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture
async def filled(tmp_path: Path, prometheus_server: type[PrometheusServer], request: pytest.FixtureRequest) -> str:
    """The URL of a server whose past is the one above. Its parameter: retries."""
    metrics = tmp_path / "metrics"
    metrics.write_text(exported(getattr(request, "param", 0)))
    command: list[str | Path] = [find("promtool", "promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    command += [metrics, tmp_path / "data"]
    await asyncio.to_thread(lambda: subprocess.run(command, check=True, capture_output=True, timeout=100))
    server = prometheus_server(tmp_path, "127.0.0.1:1")
    server.start(retention="100y")
    async with aiohttp.ClientSession() as client, asyncio.timeout(60):
        while True:
            try:
                async with client.get(f"{server.url}/-/ready") as answer:
                    if answer.status == 200:
                        return server.url
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def taken(url: str, seconds: float = END - BEGIN, **other: str) -> Past:
    return await past(url, other.pop("queue", "email"), seconds, END, **other)


@pytest.mark.needs("promtool")
async def test_arrivals_and_durations_are_those_that_were_exported(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "CHUNK", 5000.0)  # several stretches, none a whole number of scrapes
    found = await taken(filled)
    by_hour = [sum(found.arrivals[hour * 3600 : (hour + 1) * 3600]) for hour in range(HOURS)]
    rates = [arriving(BEGIN + hour * 3600) for hour in range(HOURS)]
    # A job that begins in the first 40 s of an hour arrived in the one before; those of the first came before the range.
    for hour in range(HOURS):
        after = rates[hour + 1] if hour + 1 < HOURS else 0.0
        assert by_hour[hour] == pytest.approx(3600 * rates[hour] + WAIT * (after - rates[hour]), rel=0.005), hour
    step = 3600 - int(WAIT)
    assert found.arrivals[step - 30] == pytest.approx(1.0, rel=0.01)
    assert found.arrivals[step + 30] == pytest.approx(3.0, rel=0.01)
    laws = {law.kind: law for law in found.sizes.laws}
    assert laws[SHORT].mean == pytest.approx(0.2, rel=0.01)
    assert laws[LONG].mean == pytest.approx(45.0, rel=0.02)
    draws = [laws[LONG].draw(Random(seed)) for seed in range(500)]
    assert 30.0 <= min(draws) <= max(draws) <= 60.0, "the bucket that all are in"
    shares = dict(zip(laws, found.sizes.parts, strict=True))
    assert shares[LONG] / sum(shares.values()) == pytest.approx(0.2, rel=0.02)
    assert any("no consumer was scraped for 1,200 of 28,800 s" in note for note in found.notes)
    assert not any("retries" in note for note in found.notes)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("filled", [1], indirect=True, ids=["one retry a job"])
async def test_retries_are_work_too(filled: str) -> None:
    found = await taken(filled, 7200.0)
    assert sum(found.arrivals) == pytest.approx(2 * 3600 * (1.0 + 3.0), rel=0.02)
    assert any(note.startswith("2.00 runs a job") for note in found.notes)


@pytest.mark.needs("promtool")
async def test_what_each_policy_would_have_cost(filled: str) -> None:
    ask = ["simulate", "--from-prometheus", filled, "--queue", "email", "--since", "2h", "--until", rfc3339(END)]
    code, out, err = await run(
        *ask, "--policy", "ours,keda,fixed:1,fixed:2,oracle", "--json", HEADRACE_PROMETHEUS_SELECTOR='release="ours"'
    )
    assert code == 0, err
    assert "engine discrete" in out
    rows = {row["policy"]: row for row in json.loads(out.splitlines()[-1])}
    assert list(rows) == ["ours", "keda", "fixed 1", "fixed 2", "oracle"]
    work = 7200 * 2.0 * (0.2 * 45.0 + 0.8 * 0.2) / 32  # pod-seconds of replicas that are always full
    assert rows["oracle"]["pod_seconds"] >= 0.98 * work
    assert all(row["pod_seconds"] >= rows["oracle"]["pod_seconds"] for row in rows.values() if row["late_s"] == 0)
    assert rows["fixed 1"]["late_jobs"] > rows["fixed 2"]["late_jobs"] == 0, "28 slots are busy in the mean, at times more than 32"
    code, out, err = await run(*ask, "--policy", "ours", "--engine", "fluid", "--selector", 'release="theirs"')
    assert (code, out) == (2, "")
    assert 'has no headrace_wait_seconds_count{release="theirs"}' in err


@pytest.mark.needs("promtool")
async def test_an_answer_that_is_too_large_is_asked_for_by_halves(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await taken(filled)
    monkeypatch.setattr(prometheus, "MOST_BYTES", 20_000)
    assert (await taken(filled)).arrivals == whole.arrivals


@pytest.mark.needs("promtool")
async def test_what_is_not_there_is_told(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrometheusError, match=r"knows no queue 'points' between .*; there are email"):
        await taken(filled, queue="points")
    with pytest.raises(PrometheusError, match="not enough history of 'email'"):
        await past(filled, "email", 3600.0, BEGIN + 300)
    with pytest.raises(PrometheusError, match="does it scrape the consumers"):
        await past(filled, "email", 3600.0, BEGIN - 86_400)
    with pytest.raises(PrometheusError, match="not as Prometheus' HTTP API does"):
        await taken(f"{filled}/graph")
    with pytest.raises(PrometheusError, match="parse error"):
        await taken(filled, selector="release=")
    monkeypatch.setattr(prometheus, "MOST_BYTES", 500)
    with pytest.raises(PrometheusError, match="narrow it with --selector"):
        await taken(filled)


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[str]:
    """A server that is none of Prometheus', or one that refuses."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "", r"refuses \(401\)"),
        (403, "<html>", r"refuses \(403\)"),
        (404, "page not found", "is this the server's URL"),
        (200, "<html>", "is this the server's URL"),
        (503, '{"status":"error","errorType":"unavailable","error":"starting"}', "unavailable: starting"),
    ],
)
async def test_a_server_that_refuses_or_is_another(status: int, body: str, said: str) -> None:
    async with answering(status, body) as url:
        with pytest.raises(PrometheusError, match=said) as raised:
            await taken(url.replace("http://", "http://me:secret@"))
    assert "secret" not in str(raised.value)


async def test_nobody_there_and_what_is_no_url() -> None:
    with pytest.raises(PrometheusError, match="does not answer"):
        await taken(f"http://127.0.0.1:{free_port()}")
    for url in ("prometheus:9090", "http://", "ftp://h", "http://h:port", "http://h/?a=b"):
        with pytest.raises(PrometheusError, match="--from-prometheus: write the server's URL"):
            await taken(url)


def test_the_metrics_are_named_as_they_are_asked_for() -> None:
    assert (WAIT_SECONDS._name, WAIT_SECONDS._labelnames) == ("headrace_wait_seconds", ("queue",))
    assert (HANDLER_SECONDS._name, HANDLER_SECONDS._labelnames) == ("headrace_handler_seconds", ("queue", "job_type"))
