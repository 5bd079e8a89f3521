"""`headrace demo`: real work through the real programs, shown live, and counted from its effects."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoscaler.actuators.process import TO_CLOSE
from cli.loaded import loaded
from cli.population import count_effects, population
from cli.supervisor import Supervisor
from cli.system import System, local_system
from cli.tally import Tally
from cli.traffic import Traffic
from core import project
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.errors import SettingsError


async def demo(
    users: int,
    broker: str | None,
    outcomes: str | None,
    consumers: tuple[int, int],
    kill: bool,
    timeout: float,
    as_json: bool,
) -> int:
    """Run it; the exit code: 1 when anything was lost or done twice. timeout: seconds for everything to settle.

    consumers: the fewest and the most processes. SIGTERM cancels it, so that its processes and files go. Raises HeadraceError.
    """
    check_what_it_needs(project.catalogue())
    console = Console(stderr=as_json)
    _cancel_at_sigterm()
    clock = SystemClock()
    # With a broker that outlives us, numbers must be new each time: seconds since 2020 times a thousand.
    people = population(users, int(clock.wall() - 1_577_836_800) * 1000)
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        # Its own traffic has no key, whatever the environment asks of other callers.
        own = {"HEADRACE_HOST": "127.0.0.1", "HEADRACE_API_KEYS": "open"}
        system = local_system(Path(folder), broker=broker, outcomes=outcomes, consumers=consumers, port=0, more=own)
        drain = loaded(system.settings)[0].drain_seconds + TO_CLOSE
        tally = Tally(users)
        async with Supervisor(system.programs, drain=drain, said=lambda line: console.print(line, markup=False)):
            traffic = Traffic(system.url, people, tally, lambda: next(system.consumers()).kill() if kill else None)
            took = await _watched(traffic, system, tally, console, timeout)
        effects = count_effects(people, Path(folder) / "mails.jsonl", Path(folder) / "points.db")
    expected_dead = sum(user.kind == "gone" for user in people)
    report = {
        "accepted": tally.accepted,
        "succeeded": len(tally.latencies),
        "dead": tally.dead,
        "lost": effects.lost + (users - tally.accepted) + abs(tally.dead - expected_dead),
        "duplicated_effects": effects.duplicated,
        "resent_mails": effects.resent,
        "p50_s": tally.quantile(0.50),
        "p95_s": tally.quantile(0.95),
        "most_consumers": tally.most_consumers,
        "jobs_per_s": round(tally.accepted / took, 1),
        "seconds": round(took, 2),
    }
    _show(console, report)
    if as_json:
        print(json.dumps(report))
    return 1 if report["lost"] or report["duplicated_effects"] else 0


def check_what_it_needs(catalogue: Catalogue) -> None:
    """Raises SettingsError where the example is gone: what became of its jobs is counted from its mails and rows."""
    example = catalogue.get("user.registered")
    if example is None or set(example.queues) != {"email", "points"}:
        raise SettingsError(
            "the demo needs the example's job type user.registered, with its handlers in the queues email and points; without it, "
            "`headrace up` runs what is in app/, and `headrace try JOB_TYPE PAYLOAD` submits a job and follows it"
        )


def _cancel_at_sigterm() -> None:
    """Once: a second one ends the process at once."""
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    assert running is not None  # noqa: S101 - called from a task

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        running.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)


async def _watched(traffic: Traffic, system: System, tally: Tally, console: Console, timeout: float) -> float:
    """Let the traffic run under the live view; the seconds that it took."""
    clock = SystemClock()
    began = clock.steady()
    with Live(console=console, refresh_per_second=8, transient=False) as live:

        async def look_again_and_again() -> None:
            while True:
                await _read_counters(system, tally)
                live.update(tally.view(clock.steady() - began))
                await asyncio.sleep(0.25)

        view = asyncio.create_task(look_again_and_again())
        try:
            async with asyncio.timeout(timeout):
                await traffic.run()
        except TimeoutError:
            console.print(f"[red]not everything has settled within {timeout:g} s[/red]")
        finally:
            took = clock.steady() - began
            view.cancel()
            await asyncio.gather(view, return_exceptions=True)
            await _read_counters(system, tally)
            live.update(tally.view(took, over=True))
    return took


async def _read_counters(system: System, tally: Tally) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1.0)) as client:
        try:
            async with client.get(f"{system.url}/v1/scaling/email") as answer:
                tally.scaling = [
                    f"{r['at'][11:19]}  {r['text']}" for r in (await answer.json())["items"] if r["scaled"] is not None
                ]
        except (aiohttp.ClientError, TimeoutError, KeyError):
            pass  # the store is unavailable: the next look has it
        running = list(system.consumers())
        tally.most_consumers = max(tally.most_consumers, len(running))
        for consumer in running:
            try:
                async with client.get(f"{consumer.url}/metrics") as answer:
                    tally.read(consumer.name, await answer.text())
            except (aiohttp.ClientError, TimeoutError):
                continue  # being replaced


def _show(console: Console, report: dict[str, float]) -> None:
    table = Table(title="What became of it", show_header=False)
    for name, value in report.items():
        table.add_row(name, f"{value:,}")
    console.print()  # a live view that is piped ends without one
    console.print(table)
    console.print("lost and duplicated are counted from the mails and the rows themselves.", style="dim")
