"""`headrace check`: settings, handlers, connections, topology; what is wrong, and how to mend it.

It opens broker and store as every program does, and like them it declares what is missing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rich.console import Console

from autoscaler.settings import ControllerSettings
from autoscaler.workloads import workloads_of
from cli import names
from cli.bindings import told
from cli.loaded import loaded
from consumer.app import beyond_drain
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from jobs.adapters import choose
from jobs.errors import BrokerError, HeadraceError, SignalError, StoreUnavailable, TopologyMismatch
from jobs.settings import load

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
        return _report(console, [str(error)])
    queues = registry.catalogue.topology().queues
    found = [f"queue {queue}: no handler for {name}; add one in consumer/handlers/" for queue, name in registry.missing(queues)]
    found += await _broker(settings, registry, console)
    found += await _store(settings, console)
    return _report(console, found, [*_unknown_queues(registry), *_long_runs(settings, registry)])


def _unknown_queues(registry: Registry) -> list[str]:
    """What `loaded` has read: it can be."""
    catalogue = registry.catalogue
    return [
        f"HEADRACE_WORKLOADS: {workload} names queue {queue!r}, which no contract has: the controller leaves it alone, and "
        f"a consumer of it does not start. The contracts have: {', '.join(catalogue.topology().queues)}"
        for workload, queue in workloads_of(load(ControllerSettings), catalogue).unknown
    ]


def _long_runs(settings: ConsumerSettings, registry: Registry) -> list[str]:
    """Not of queues whose jobs have a process each, as far as the workloads are known here: no rollout ends those."""
    apart = {queue for workload in load(ControllerSettings).workloads if workload.ends_itself for queue in workload.queues}
    queues = [queue for queue in registry.catalogue.topology().queues if queue not in apart]
    what = (
        "what runs on at a rollout begins again. Raise it (in the chart drainSeconds), lower the contract's time_limit, or give "
        "each job a process of its own (in the chart mode: job)"
    )
    return [
        f"queue {queue}: {name} may run for {limit:g} s, HEADRACE_DRAIN_SECONDS is {settings.drain_seconds:g}: {what}"
        for queue, name, limit in beyond_drain(settings, registry, queues)
    ]


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
    """found: what has to be mended. warnings: what may be meant so, as a name that another program reads."""
    for line in [*names.unknown(), *warnings]:
        console.print(f"! {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for line in found:
        console.print(f"✗ {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not found:
        console.print("✓ nothing to mend", style="green")
    return 1 if found else 0
