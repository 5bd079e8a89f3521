"""`headrace check`: settings, handlers, connections, topology; their faults, and the remedies.

It opens broker and store as every program does, and like them it declares what is missing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rich.console import Console

from adapters import choose
from autoscaler.settings import ControllerSettings
from cli import names
from cli.advice import advice
from cli.bindings import told
from cli.loaded import loaded
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core.errors import BrokerError, HeadraceError, SignalError, StoreUnavailable, TopologyMismatch
from core.settings import load

_REMEDY = "Start the server, or mend {0} (or the file that {0}_FILE names)"


@runtime_checkable
class _Advising(Protocol):
    """A store on a server that an operator sets up: it says what should be mended although it works."""

    async def advice(self) -> list[str]: ...


async def check() -> int:
    """Look at everything; the exit code: 1 when something has to be mended."""
    console = Console()
    try:
        settings, registry = loaded()
    except HeadraceError as error:
        return _report(console, [str(error)], names.unknown())
    queues = registry.catalogue.topology().queues
    found = [f"queue {queue}: no handler for {name}; add one in app/handlers/" for queue, name in registry.missing(queues)]
    found += await _broker(settings, registry, console)
    found += await _store(settings, console)
    return _report(console, found, advice(settings, registry))


async def _broker(settings: ConsumerSettings, registry: Registry, console: Console) -> list[str]:
    topology = registry.catalogue.topology()
    broker = choose.broker(settings, topology)
    await broker.open()
    try:
        if (reason := broker.unready()) is not None:
            return [f"broker: {reason}. {_REMEDY.format('HEADRACE_BROKER')}"]
        for queue in topology.queues:
            depth = await broker.depth(queue)
            console.print(f"queue {queue}: {depth.ready} ready", highlight=False)
        found = await broker.advice() + await told(load(ControllerSettings))
        return [f"broker: {line}" for line in found]
    except TopologyMismatch as error:
        return [f"broker: {error}"]
    except BrokerError as error:
        return [f"broker: {error}. {_REMEDY.format('HEADRACE_BROKER')}"]
    except SignalError as error:
        return [f"broker: {error}. {_REMEDY.format('HEADRACE_MANAGEMENT_URL')}"]
    finally:
        await broker.close()


async def _store(settings: ConsumerSettings, console: Console) -> list[str]:
    store = choose.outcomes(settings)
    if store is None:
        console.print("outcome store: none, so there are no claims and no status")
        return []
    try:
        await store.open()
        await store.ping()
        told = await store.advice() if isinstance(store, _Advising) else []
    except StoreUnavailable as error:
        return [f"outcome store: {error}. {_REMEDY.format('HEADRACE_OUTCOMES')}"]
    finally:
        await store.close()
    console.print("outcome store: takes writes")
    return [f"outcome store: {line}" for line in told]


def _report(console: Console, found: list[str], warnings: Sequence[str] = ()) -> int:
    """found: the faults. warnings: possible mistakes, such as a name that another program reads."""
    for line in warnings:
        console.print(f"! {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for line in found:
        console.print(f"✗ {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not found:
        n = len(warnings)
        besides = "" if not n else "; 1 warning above" if n == 1 else f"; {n} warnings above"
        console.print(f"✓ nothing to mend{besides}", style="green")
    return 1 if found else 0
