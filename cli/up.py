"""`headrace up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autoscaler.actuators.process import TO_CLOSE
from cli.advice import no_job_types
from cli.folder import held
from cli.loaded import loaded
from cli.supervisor import Supervisor
from cli.system import System, local_system
from core.catalogue import Catalogue


async def up(
    data: Path, broker: str | None, outcomes: str | None, consumers: tuple[int, int], jobs: Sequence[str], port: int
) -> None:
    """Run until SIGINT or SIGTERM, then drain. Raises HeadraceError, also where another one runs with the same folder.

    consumers: the fewest and the most processes. jobs: queues of which each delivery has a process of its own.
    """
    with held(data):
        await _run(data, broker, outcomes, consumers, jobs, port)


async def _run(
    data: Path, broker: str | None, outcomes: str | None, consumers: tuple[int, int], jobs: Sequence[str], port: int
) -> None:
    console = Console()
    system = local_system(data, broker=broker, outcomes=outcomes, consumers=consumers, jobs=jobs, port=port)
    settings, registry = loaded(system.settings)
    drain = settings.drain_seconds + TO_CLOSE  # the controller ends once its consumers have
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Supervisor(system.programs, drain=drain, said=lambda line: console.print(line, markup=False)):
        _explain(console, system, data, registry.catalogue)
        await stop.wait()
        console.print("Draining…")
    console.print("Stopped.")


def _explain(console: Console, system: System, data: Path, catalogue: Catalogue) -> None:
    console.print(f"\n[bold]Headrace is up[/bold] at {system.url}   (Ctrl-C drains and stops)")
    console.print(f"  reference  {system.url}/docs")
    for name, path in system.shown.items():
        console.print(f"  {name:<9}  {path}", markup=False)
    console.print(f"  logs       {data.absolute()}/*.log")
    console.print(f"             {data.absolute()}/consumers/*.log: of consumers, with what your handlers print")
    console.print("  scaling    headrace watch --url " + system.url, highlight=False)
    console.print("             (`headrace` is in the environment: . .venv/bin/activate)\n", highlight=False, style="dim")
    if (command := submit(catalogue, system.url)) is not None:
        console.print("Submit a job, and follow its Location:\n", highlight=False)
        console.print(f"  {command}\n", highlight=False, soft_wrap=True, markup=False)
    for line in no_job_types(catalogue):
        console.print(f"{line[0].upper()}{line[1:]}\n", highlight=False, markup=False)


def submit(catalogue: Catalogue, url: str) -> str | None:
    """The command for a job whose contract has an example, of those with the most queues the first; None where none has."""
    shown = [contract for contract in catalogue if contract.examples]
    if not shown:
        return None
    contract = max(shown, key=lambda contract: len(contract.queues))
    body = shlex.quote(json.dumps(contract.examples[0]))
    return f"curl -i {url}/v1/jobs/{contract.name} \\\n    -H 'content-type: application/json' \\\n    -d {body}"
