"""`headrace watch`: queues, consumers and the controller's reasons, live in the terminal."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.api import Address, Gateway, GatewayError

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_REASONS = 5


async def watch(address: Address, queue: str | None, rounds: int | None = None) -> None:
    """Until Ctrl-C, or for so many rounds of a second. queue: that one alone."""
    async with Gateway(address) as gateway:
        with Live(console=Console(), refresh_per_second=4, screen=False) as live:
            while rounds is None or rounds > 0:
                try:
                    live.update(await _page(gateway, queue))
                except GatewayError as error:
                    live.update(Text(str(error), style="red"))
                rounds = None if rounds is None else rounds - 1
                await asyncio.sleep(1.0)


async def _page(gateway: Gateway, queue: str | None) -> Group:
    newest = (await gateway.ask("GET", "/v1/scaling"))["items"]
    wanted = [record["queue"] for record in newest if queue in (None, record["queue"])]
    if not wanted:
        return Group(Text("No decision yet: is the controller running? `headrace up`, or `python -m autoscaler`"))
    histories = [(await gateway.ask("GET", f"/v1/scaling/{name}", params={"limit": "200"}))["items"] for name in wanted]
    return Group(*(panel(history) for history in histories))


def panel(history: list[dict[str, Any]]) -> Panel:
    """One queue: sparklines of backlog and replicas, figures, alerts, and the last reasons."""
    last = history[-1]
    table = Table.grid(padding=(0, 1))
    table.add_row("backlog", Text(sparkline([r["backlog"] for r in history]), "cyan"), _number(last["backlog"]) + " jobs")
    table.add_row(
        "replicas", Text(sparkline([r["ready"] for r in history]), "green"), f"{_number(last['ready'])} ready of {last['asked']}"
    )
    rates = f"arriving {_number(last['arrival_rate'])}/s, {_number(last['service_rate'])}/s a replica"
    alerts = [Text(f"! {alert['text']} {alert['trace']}".rstrip(), "red") for alert in last["alerts"]]
    reasons = [Text(f"{r['at'][11:19]}  {r['text']}", "dim") for r in changes(history)[-_REASONS:]]
    state = "dry run" if last["dry_run"] else last["reason"]
    return Panel(Group(table, Text(rates), *alerts, *reasons), title=f"{last['queue']} · {last['workload']} · {state}")


def changes(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records in which something was done, or the reason became another one."""
    told, before = [], None
    for record in history:
        if record["scaled"] is not None or record["reason"] != before:
            told.append(record)
        before = record["reason"]
    return told


def sparkline(values: list[float | None]) -> str:
    """The newest values as blocks, 0 to the highest of them; unknown is a blank."""
    shown = values[-_WIDTH:]
    most = max((value for value in shown if value is not None), default=0.0) or 1.0
    return "".join(" " if v is None else _BLOCKS[min(int(v / most * len(_BLOCKS)), len(_BLOCKS) - 1)] for v in shown)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"
