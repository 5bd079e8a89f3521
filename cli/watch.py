"""`headrace watch`: queues, consumers and the controller's reasons, live in the terminal; in a pipe a line for each change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
_NONE = "No decision yet: is the controller running? `headrace up`, or `python -m autoscaler`"


async def watch(address: Address, queue: str | None, rounds: int | None = None) -> None:
    """Until Ctrl-C, or for `rounds` seconds, one line a second. queue: that one alone."""
    console = Console()
    async with Gateway(address) as gateway:
        if not console.is_terminal:
            await _every_second(Lines(gateway, queue).round, rounds)
            return
        with Live(console=console, refresh_per_second=4, screen=False) as live:

            async def draw() -> None:
                try:
                    live.update(_page(await _histories(gateway, queue)))
                except GatewayError as error:
                    live.update(Text(str(error), style="red"))

            await _every_second(draw, rounds)


async def _every_second(act: Callable[[], Awaitable[None]], rounds: int | None) -> None:
    while rounds is None or rounds > 0:
        await act()
        rounds = None if rounds is None else rounds - 1
        await asyncio.sleep(1.0)


async def _histories(gateway: Gateway, queue: str | None) -> list[list[dict[str, Any]]]:
    newest = (await gateway.ask("GET", "/v1/scaling"))["items"]
    wanted = [record["queue"] for record in newest if queue in (None, record["queue"])]
    return [(await gateway.ask("GET", f"/v1/scaling/{name}", params={"limit": "200"}))["items"] for name in wanted]


def _page(histories: list[list[dict[str, Any]]]) -> Group:
    return Group(*(panel(history) for history in histories)) if histories else Group(Text(_NONE))


class Lines:
    """Plain lines, for a pipe or a file: of each queue the last change, then each new one; an outage is printed once."""

    def __init__(self, gateway: Gateway, queue: str | None) -> None:
        self._gateway, self._queue = gateway, queue
        self._seen: dict[str, str] = {}  # of each queue, the time of the newest record
        self._trouble = ""

    async def round(self) -> None:
        try:
            histories = await _histories(self._gateway, self._queue)
        except GatewayError as error:
            self._tell(str(error))
            return
        self._tell("" if histories else _NONE)
        for line in [line for history in histories if history for line in self.lines(history)]:
            print(line, flush=True)

    def lines(self, history: list[dict[str, Any]]) -> list[str]:
        """Of one queue, what has changed since the last call."""
        name, found = history[-1]["queue"], changes(history)
        before = self._seen.get(name)
        self._seen[name] = history[-1]["at"]
        new = found[-1:] if before is None else [record for record in found if record["at"] > before]
        return [f"{record['at']} {name} ({record['workload']}): {record['text']}" for record in new]

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            print(trouble, flush=True)
        self._trouble = trouble


def panel(history: list[dict[str, Any]]) -> Panel:
    """One queue: sparklines of backlog and replicas, figures, alerts, and the last reasons."""
    last = history[-1]
    table = Table.grid(padding=(0, 1))
    table.add_row("backlog", Text(sparkline([r["backlog"] for r in history]), "cyan"), _number(last["backlog"]) + " jobs")
    going = last.get("cordoned")  # a gateway of 0.1.0 tells none
    ready = f"{_number(last['ready'])} ready of {last['asked']}" + (f", {going} cordoned" if going else "")
    table.add_row("replicas", Text(sparkline([r["ready"] for r in history]), "green"), ready)
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
