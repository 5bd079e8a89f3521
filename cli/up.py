"""`headrace up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cli.loaded import loaded
from cli.supervisor import Supervisor
from cli.system import System, local_system

_PAYLOAD = '{"user_id": 42, "email": "ada@example.com", "name": "Ada Lovelace", "registered_at": "2026-01-31T09:30:00Z"}'


async def up(
    data: Path, broker: str | None, outcomes: str | None, consumers: tuple[int, int], jobs: Sequence[str], port: int
) -> None:
    """Run until SIGINT or SIGTERM, then drain. Raises HeadraceError.

    consumers: the fewest and the most processes. jobs: queues of which each delivery has a process of its own.
    """
    console = Console()
    system = local_system(data, broker=broker, outcomes=outcomes, consumers=consumers, jobs=jobs, port=port)
    loaded(system.settings)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Supervisor(system.programs, drain=45.0, said=lambda line: console.print(line, markup=False)):
        _explain(console, system, data)
        await stop.wait()
        console.print("Draining…")
    console.print("Stopped.")


def _explain(console: Console, system: System, data: Path) -> None:
    console.print(f"\n[bold]Headrace is up[/bold] at {system.url}   (Ctrl-C drains and stops)")
    console.print(f"  reference  {system.url}/docs\n  mails      {system.mails}\n  logs       {data.absolute()}/*.log")
    console.print(f"             {data.absolute()}/consumers/*.log: of consumers, with what your handlers print")
    console.print("  scaling    headrace watch --url " + system.url, highlight=False)
    console.print("             (`headrace` is in the environment: . .venv/bin/activate)\n", highlight=False, style="dim")
    console.print("Submit a job, and follow its Location:\n", highlight=False)
    command = f"curl -i {system.url}/v1/jobs/user.registered \\\n    -H 'content-type: application/json' \\\n    -d '{_PAYLOAD}'"
    console.print("  " + command + "\n", highlight=False, soft_wrap=True, markup=False)
