"""`headrace check`: settings, handlers, connections, topology; what is wrong, and how to mend it."""

from __future__ import annotations

from rich.console import Console

import consumer.handlers
import contracts
from consumer.app import check_limits
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from jobs.adapters import choose
from jobs.catalogue import Catalogue
from jobs.errors import BrokerError, HeadraceError, StoreUnavailable
from jobs.settings import load
from service.key_files import keys_of
from service.settings import GatewaySettings


async def check() -> int:
    """Look at everything; the exit code: 1 when something has to be mended."""
    console = Console()
    found: list[str] = []
    try:
        settings = load(ConsumerSettings)
        keys_of(load(GatewaySettings))
        registry = Registry.of(Catalogue.of(contracts), consumer.handlers)
        queues = registry.catalogue.topology().queues
        check_limits(settings, registry, queues)
    except HeadraceError as error:
        return _report(console, [str(error)])
    found += [f"queue {queue}: no handler for {name}; add one in consumer/handlers/" for queue, name in registry.missing(queues)]
    found += await _broker(settings, registry, console)
    found += await _store(settings, console)
    return _report(console, found)


async def _broker(settings: ConsumerSettings, registry: Registry, console: Console) -> list[str]:
    topology = registry.catalogue.topology()
    broker = choose.broker(settings, topology)
    await broker.open()
    try:
        if (reason := broker.unready()) is not None:
            return [f"broker: {reason}"]
        for queue in topology.queues:
            depth = await broker.depth(queue)
            console.print(f"queue {queue}: {depth.ready} ready", highlight=False)
        return [f"broker: {line}" for line in await broker.advice()]
    except BrokerError as error:
        return [f"broker: {error}"]
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
    except StoreUnavailable as error:
        return [f"outcome store: {error}"]
    finally:
        await store.close()
    console.print("outcome store: answers")
    return []


def _report(console: Console, found: list[str]) -> int:
    for line in found:
        console.print(f"✗ {line}", style="red", markup=False, highlight=False)
    if not found:
        console.print("✓ nothing to mend", style="green")
    return 1 if found else 0
