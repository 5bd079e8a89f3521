"""`headrace status` and `headrace dead`: what an operator asks the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cli.api import Address, Gateway, GatewayError

FINAL = ("succeeded", "dead", "cancelled")


async def status(job_id: str, address: Address, watch: bool, as_json: bool) -> None:
    """Show a job; with `watch`, again and again until its deliveries have ended."""
    async with Gateway(address) as gateway:
        while True:
            job = await gateway.ask("GET", f"/v1/jobs/{job_id}")
            (_print if as_json else show_job)(job)
            if not watch or all(delivery["state"] in FINAL for delivery in job["deliveries"]):
                return
            await asyncio.sleep(1.0)


async def dead_list(address: Address, queue: str | None, job_type: str | None, limit: int, as_json: bool) -> None:
    _tell_of_typos(queue, job_type)
    wanted = {"queue": queue, "job_type": job_type, "limit": str(limit)}
    async with Gateway(address) as gateway:
        page = await gateway.ask("GET", "/v1/dead-letters", params={name: value for name, value in wanted.items() if value})
    if as_json:
        return _print(page)
    return _print_whole(_letters(page["items"]))


def _letters(items: list[dict[str, Any]]) -> Table:
    table = _table("dead id", "queue", "job type", "reason", "tries")
    for name in ("died at, UTC", "replayed"):  # a time may stand below its date
        table.add_column(name)
    for item in items:
        said = [str(item[name]) for name in ("dead_id", "queue", "job_type", "reason", "attempts")]
        table.add_row(*said, _short(item["died_at"]), _short(item["replayed_at"]))
    return table


def _table(*names: str) -> Table:
    """names: of columns that are never wrapped."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _short(time: str | None) -> str:
    """A time to the second, without its zone, which is UTC: `dead show` has the whole."""
    return "" if time is None else time[:19].replace("T", " ")


def _print_whole(table: Table) -> None:
    """In the width of the terminal, but no word is cut for it: an id is copied. In a pipe each row is one line."""
    console = Console()
    measured = Measurement.get(console, console.options.update(max_width=10_000), table)
    width = max(console.width, measured.minimum) if console.is_terminal else measured.maximum
    Console(width=width).print(table)


def _tell_of_typos(queue: str | None, job_type: str | None) -> None:
    """A note about a name that no contract has. It is asked for all the same: dead letters outlive their contracts."""
    from core import project

    catalogue = project.catalogue()
    console = Console(stderr=True)
    if queue is not None and queue not in (known := catalogue.topology().queues):
        console.print(
            f"no contract names queue {queue!r}; there are: {', '.join(known)}", soft_wrap=True, markup=False, highlight=False
        )
    if job_type is not None and job_type not in (names := [contract.name for contract in catalogue]):
        console.print(
            f"no contract is called {job_type!r}; there are: {', '.join(names)}", soft_wrap=True, markup=False, highlight=False
        )


async def dead_show(address: Address, dead_id: str) -> None:
    async with Gateway(address) as gateway:
        _print(await gateway.ask("GET", f"/v1/dead-letters/{dead_id}"))


async def dead_replay(address: Address, dead_id: str | None, queue: str | None, job_type: str | None) -> None:
    """Raises GatewayError where nothing is named: all dead letters at once are never replayed by mistake."""
    if dead_id is None and queue is None and job_type is None:
        raise GatewayError("name one dead letter by its ID, or all of a --queue or a --job-type; `headrace dead list` shows them")
    _tell_of_typos(queue, job_type)
    async with Gateway(address) as gateway:
        if dead_id is not None:
            _print(await gateway.ask("POST", f"/v1/dead-letters/{dead_id}/replay"))
            return
        wanted = {name: value for name, value in (("queue", queue), ("job_type", job_type)) if value}
        _print(await gateway.ask("POST", "/v1/dead-letters/replay", json=wanted))


async def dead_drop(address: Address, dead_id: str) -> None:
    async with Gateway(address) as gateway:
        await gateway.ask("DELETE", f"/v1/dead-letters/{dead_id}")
    Console().print(f"dropped {dead_id}")


def show_job(job: dict[str, Any]) -> None:
    """Its deliveries as a table of at most 80 columns with usual names; below it what each said, whole, as it may be long."""
    console = Console()
    console.print(f"{job['job_type']} {job['job_id']}", markup=False, highlight=False, soft_wrap=True)
    _print_whole(_deliveries(job["deliveries"]))
    for delivery in job["deliveries"]:
        if said := _said(delivery):
            console.print(f"{delivery['queue']}: {said}", markup=False, highlight=False, soft_wrap=True)


def _deliveries(items: list[dict[str, Any]]) -> Table:
    table = _table("queue", "state", "tries")
    for name in ("started, UTC", "ended, UTC"):  # a time may stand below its date
        table.add_column(name)
    for item in items:
        said = [str(item[name]) for name in ("queue", "state", "attempts")]
        table.add_row(*said, _short(item["started_at"]), _short(item["ended_at"]))
    return table


def _said(delivery: dict[str, Any]) -> str:
    """The error of its last run or the result, on one line."""
    if delivery["error"]:
        return str(delivery["error"]["message"])
    return "" if delivery["result"] is None else orjson.dumps(delivery["result"]).decode()


def _print(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
