"""`headrace bindings`: what RabbitMQ's exchange `jobs` is bound to, and which of it no contract names any more."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.table import Table

from adapters.rabbitmq.bindings import Binding, Bindings, of
from autoscaler.settings import ControllerSettings
from autoscaler.signals.rabbitmq import rows, session
from cli.advice import of_this_release
from core import project
from core.errors import HeadraceError
from core.outgoing import Outgoing
from core.settings import load
from core.topology import DELAY_ARRIVAL, DELAY_DUE, EXCHANGE

_UNKNOWN = (
    "Whether earlier releases bound more is not known: HEADRACE_MANAGEMENT_URL names no management API that could be asked, and "
    "`headrace bindings --prune` has never run with this broker."
)
_FIRST = (
    "0 removed. This was the first `--prune` with this broker, so there was no record of what earlier releases bound. It has now "
    "recorded the {count} bindings of this release; the next release's `--prune` removes those of them that it does not name. "
    "To find what earlier releases bound, set HEADRACE_MANAGEMENT_URL and run it again."
)


@dataclass(frozen=True)
class Known:
    """wanted: by the contracts. bound: the bindings on the broker, as far as is known; None is unknown."""

    wanted: set[Binding]
    bound: set[Binding] | None

    @property
    def stale(self) -> set[Binding]:
        return (self.bound or set()) - self.wanted


async def bindings(prune: bool, advise: bool) -> int:
    """List them, with `prune` also remove what no contract names; the exit code: 1 when that could not be done.

    advise: leave out those that are as they should be, and warn of what is not meant so elsewhere.
    """
    console = Console()
    try:
        settings = load(ControllerSettings)
        if not on_rabbitmq(settings):
            console.print("HEADRACE_BROKER is not a RabbitMQ URL: elsewhere nothing outlives its contract")
            return 0
        async with _opened(settings) as broker:
            known = await look(settings, broker)
            _print(console, known, whole=not advise, prune=prune)
            if prune:
                await broker.unbind(known.stale)
                await broker.record(known.wanted)
                first = known.bound is None and not advise
                console.print(_FIRST.format(count=len(known.wanted)) if first else f"{len(known.stale)} removed", highlight=False)
    except HeadraceError as error:
        console.print(f"✗ {error}", style="red", markup=False, highlight=False)
        return 1
    for line in of_this_release() if advise else []:
        console.print(f"! {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return 0


async def told(settings: ControllerSettings) -> list[str]:
    """The message of `headrace check`. Raises BrokerUnavailable, SignalError."""
    if not on_rabbitmq(settings):
        return []
    async with _opened(settings) as broker:
        known = await look(settings, broker)
    return [
        f"jobs of type {job_type} still go to queue {queue}, which no contract names. Mend it, once no older release runs: "
        "headrace bindings --prune"
        for job_type, queue in sorted(known.stale)
    ]


async def look(settings: ControllerSettings, broker: Bindings) -> Known:
    """By the management API where its URL is given, else by what was recorded."""
    wanted = of(project.catalogue().topology())
    if settings.management():
        return Known(wanted, await _managed(settings))
    return Known(wanted, await broker.recorded())


async def _managed(settings: ControllerSettings) -> set[Binding]:
    """Only those of queues that we have declared: an operator's own, of an audit queue for instance, are none of ours."""
    outgoing = Outgoing.of(settings.ca_file)
    async with session(outgoing, settings.connect_timeout) as client:
        url, vhost = settings.management(), _vhost(settings)
        found = await rows(client, url, ("bindings", vhost), outgoing=outgoing)
    # Version 0.1.0 bound its queues to the one for what is due, and this one to the other.
    due = [row for row in found if row.get("source") in (DELAY_ARRIVAL, DELAY_DUE)]
    queues = {row.get("destination") for row in due if row.get("routing_key") == f"#.{row.get('destination')}"}
    return {
        (str(row.get("routing_key")), str(row.get("destination")))
        for row in found
        if row.get("source") == EXCHANGE and row.get("destination_type") == "queue" and row.get("destination") in queues
    }


def on_rabbitmq(settings: ControllerSettings) -> bool:
    return urlsplit(settings.broker.get_secret_value()).scheme in ("amqp", "amqps")


def _vhost(settings: ControllerSettings) -> str:
    return unquote(urlsplit(settings.broker.get_secret_value()).path.removeprefix("/")) or "/"


def _opened(settings: ControllerSettings) -> AbstractAsyncContextManager[Bindings]:
    return Bindings.at(settings.broker.get_secret_value(), settings.connect_timeout, settings.replication_factor, settings.ca_file)


def _print(console: Console, known: Known, *, whole: bool, prune: bool) -> None:
    """whole: also print bindings that are as they should be. prune: unknown ones are printed after the removal."""
    table = Table("job type", "queue", "contract")
    for job_type, queue in sorted(known.wanted | known.stale if whole else known.stale):
        table.add_row(job_type, queue, "yes" if (job_type, queue) in known.wanted else "no: jobs still go there")
    if table.row_count:
        console.print(table)
    if known.bound is None and whole and not prune:
        console.print(_UNKNOWN)
