"""`headrace demo`: real work through the real programs, shown live, and counted from its effects."""

from __future__ import annotations

import asyncio
import json
import random
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from cli.population import User, count_effects, population
from cli.supervisor import Supervisor
from cli.system import System, local_system
from jobs.clock import SystemClock, from_rfc3339

CONNECTIONS = 32
DELIVERIES = 2  # of a user.registered
_SETTLED = re.compile(r'^headrace_deliveries_total\{queue="(\w+)",settlement="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


@dataclass
class Tally:
    """What the live view shows. settled: a settlement's word → deliveries; counts of a process that died are kept."""

    users: int
    accepted: int = 0
    retried_submits: int = 0
    counts: dict[tuple[str, str, str], float] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)

    def settled(self, word: str) -> int:
        return int(sum(value for (_, _, w), value in self.counts.items() if w == word) + self.kept.get(word, 0))

    def read(self, consumer: str, exposition: str) -> None:
        """Take over a consumer's counters. One that went back belongs to a new process: what the old one counted is kept."""
        for queue, word, text in _SETTLED.findall(exposition):
            key, value = (consumer, queue, word), float(text)
            if value < self.counts.get(key, 0.0):
                self.kept[word] = self.kept.get(word, 0.0) + self.counts[key]
            self.counts[key] = value


async def demo(
    users: int, broker: str | None, outcomes: str | None, consumers: int, kill: bool, timeout: float, as_json: bool
) -> int:
    """Run it; the exit code: 1 when anything was lost or done twice. timeout: seconds for everything to settle."""
    console = Console(stderr=as_json)
    clock = SystemClock()
    # With a broker that outlives us, numbers must be new each time: seconds since 2020 times a thousand.
    people = population(users, int(clock.wall() - 1_577_836_800) * 1000)
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        system = local_system(Path(folder), broker=broker, outcomes=outcomes, consumers=consumers, port=0)
        tally = Tally(users)
        async with Supervisor(system.programs, drain=25.0, said=console.print) as supervisor:
            began = clock.steady()
            ids, latencies, dead = await _work(system, people, tally, console, timeout, supervisor if kill else None)
            took = clock.steady() - began
        effects = count_effects(people, system.mails, Path(system.database.partition("///")[2]))
    expected_dead = sum(user.kind == "gone" for user in people)
    report = {
        "accepted": len(ids),
        "succeeded": len(latencies),
        "dead": dead,
        "lost": effects.lost + (users - len(ids)) + abs(dead - expected_dead),
        "duplicated_effects": effects.duplicated,
        "resent_mails": effects.resent,
        "p50_s": _quantile(latencies, 0.50),
        "p95_s": _quantile(latencies, 0.95),
        "jobs_per_s": round(len(ids) / took, 1),
        "seconds": round(took, 2),
    }
    _show(console, report)
    if as_json:
        print(json.dumps(report))
    return 1 if report["lost"] or report["duplicated_effects"] else 0


async def _work(
    system: System, people: list[User], tally: Tally, console: Console, timeout: float, killer: Supervisor | None
) -> tuple[dict[int, str], list[float], int]:
    """Submit everything and wait until all has settled; job ids, seconds from acceptance to success, dead deliveries."""
    async with aiohttp.ClientSession(system.url, timeout=aiohttp.ClientTimeout(10.0)) as client:
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            view = asyncio.create_task(_watch(system, tally, live))
            try:
                async with asyncio.timeout(timeout):
                    ids = await _submit_all(client, people, tally, killer)
                    latencies, dead = await _until_settled(client, list(ids.values()))
            finally:
                view.cancel()
                await asyncio.gather(view, return_exceptions=True)
                await _read_counters(system, tally)
                live.update(_bars(tally))
    return ids, latencies, dead


async def _submit_all(client: aiohttp.ClientSession, people: list[User], tally: Tally, killer: Supervisor | None) -> dict[int, str]:
    ids: dict[int, str] = {}
    todo = iter(people)

    async def worker() -> None:
        for user in todo:
            ids[user.user_id] = await _submit(client, user, tally)
            tally.accepted += 1
            if killer is not None and tally.accepted == len(people) // 2:
                killer.kill("consumer-1")

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return ids


async def _submit(client: aiohttp.ClientSession, user: User, tally: Tally) -> str:
    """Until it is accepted. The key makes each try the same job, so that an answer that got lost does no harm."""
    pause = 0.2
    while True:
        try:
            headers = {"Idempotency-Key": f"demo-{user.user_id}"}
            async with client.post("/v1/jobs/user.registered", json=user.payload, headers=headers) as answer:
                if answer.status == 202:
                    return str((await answer.json())["job_id"])
                if answer.status < 500:
                    raise SystemExit(f"refused: {await answer.text()}")
                asked = float(answer.headers.get("Retry-After", "0"))
        except (aiohttp.ClientError, TimeoutError):
            asked = 0.0
        tally.retried_submits += 1
        await asyncio.sleep(max(asked, pause) * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 5.0)


async def _until_settled(client: aiohttp.ClientSession, ids: list[str]) -> tuple[list[float], int]:
    """Ask for each job until its deliveries have ended: the state store's word, once per job, by `CONNECTIONS` askers."""
    latencies: list[float] = []
    dead = 0
    todo = iter(ids)

    async def worker() -> None:
        nonlocal dead
        for job_id in todo:
            deliveries, accepted = await _ended(client, job_id)
            dead += sum(d["state"] == "dead" for d in deliveries)
            if all(d["state"] == "succeeded" for d in deliveries):
                latencies.append(max(from_rfc3339(d["ended_at"]) for d in deliveries) - from_rfc3339(accepted))

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return latencies, dead


async def _ended(client: aiohttp.ClientSession, job_id: str) -> tuple[list[dict[str, str]], str]:
    pause = 0.1
    while True:
        try:
            async with client.get(f"/v1/jobs/{job_id}") as answer:
                job = await answer.json() if answer.status == 200 else {"deliveries": []}
            deliveries = job["deliveries"]
            if len(deliveries) == DELIVERIES and all(d["state"] in ("succeeded", "dead", "cancelled") for d in deliveries):
                return deliveries, job["accepted_at"]
        except (aiohttp.ClientError, TimeoutError):
            pause = 1.0
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 1.5, 1.0)


async def _watch(system: System, tally: Tally, live: Live) -> None:
    while True:
        await _read_counters(system, tally)
        live.update(_bars(tally))
        await asyncio.sleep(0.25)


async def _read_counters(system: System, tally: Tally) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1.0)) as client:
        for consumer in system.consumers:
            try:
                async with client.get(f"{consumer}/metrics") as answer:
                    tally.read(consumer, await answer.text())
            except (aiohttp.ClientError, TimeoutError):
                continue  # being replaced


def _bars(tally: Tally) -> Table:
    table = Table.grid(padding=(0, 1))
    rows = (
        ("jobs accepted", tally.accepted, tally.users, "cyan"),
        ("deliveries succeeded", tally.settled("succeeded"), tally.users * DELIVERIES, "green"),
        ("tried again", tally.settled("retry"), tally.users * DELIVERIES, "yellow"),
        ("dead", tally.settled("dead"), tally.users * DELIVERIES, "red"),
    )
    for name, value, total, colour in rows:
        table.add_row(name, ProgressBar(total, value, width=40, complete_style=colour, finished_style=colour), f"{value:,}")
    return table


def _show(console: Console, report: dict[str, float]) -> None:
    table = Table(title="What became of it", show_header=False)
    for name, value in report.items():
        table.add_row(name, f"{value:,}")
    console.print(table)
    console.print("lost and duplicated are counted from the mails and the rows themselves.", style="dim")


def _quantile(values: list[float], q: float) -> float:
    """The nearest-rank quantile, in seconds; 0 where there is none."""
    return round(sorted(values)[min(int(q * len(values)), len(values) - 1)], 3) if values else 0.0
