"""`headrace status` and `headrace dead`: what an operator asks the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from cli.api import Address, Gateway

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
    wanted = {"queue": queue, "job_type": job_type, "limit": str(limit)}
    async with Gateway(address) as gateway:
        page = await gateway.ask("GET", "/v1/dead-letters", params={name: value for name, value in wanted.items() if value})
    if as_json:
        return _print(page)
    table = Table("dead id", "queue", "job type", "reason", "attempts", "died at", "replayed at")
    for item in page["items"]:
        names = ("dead_id", "queue", "job_type", "reason", "attempts", "died_at", "replayed_at")
        table.add_row(*(str(item[name] if item[name] is not None else "") for name in names))
    return Console().print(table)


async def dead_show(address: Address, dead_id: str) -> None:
    async with Gateway(address) as gateway:
        _print(await gateway.ask("GET", f"/v1/dead-letters/{dead_id}"))


async def dead_replay(address: Address, dead_id: str | None, queue: str | None, job_type: str | None) -> None:
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
    table = Table("queue", "state", "attempts", "started", "ended", "result or error", title=f"{job['job_type']} {job['job_id']}")
    for delivery in job["deliveries"]:
        said = delivery["error"]["message"] if delivery["error"] else delivery["result"]
        shown = (delivery["queue"], delivery["state"], delivery["attempts"], delivery["started_at"], delivery["ended_at"], said)
        table.add_row(*("" if value is None else str(value) for value in shown))
    Console().print(table)


def _print(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
