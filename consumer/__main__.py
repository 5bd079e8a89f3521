"""`python -m consumer --queues email,points`: run the handlers of these queues."""

from __future__ import annotations

import argparse
import os
import sys
import threading

import uvloop

import consumer.handlers
import contracts
from consumer.app import Consumer, check_limits
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from jobs.catalogue import Catalogue
from jobs.errors import ContractError, SettingsError
from jobs.settings import load
from telemetry import logs


def main() -> int:
    """The exit code: 0 after a drain, 2 for a setting or a contract that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m consumer", description="Run the handlers of some queues.")
    parser.add_argument("--queues", default="", help="which queues, with commas between; all when left out")
    asked = parser.parse_args().queues
    try:
        settings = load(ConsumerSettings)
        registry = Registry.of(Catalogue.of(contracts), consumer.handlers)
        queues = _queues(asked or settings.queues, registry)
        check_limits(settings, registry, queues)
    except (SettingsError, ContractError) as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format, "consumer")
    for queue, job_type in registry.missing(queues):
        logs.get("consumer").warning("no handler: such deliveries will be dead letters", queue=queue, job_type=job_type)
    try:
        uvloop.run(Consumer(settings, registry, queues).run())
    except SettingsError as error:  # of a handler's resource, which reads its settings when it is opened
        print(error, file=sys.stderr)
        return 2
    return 0


def _queues(asked: str, registry: Registry) -> list[str]:
    known = registry.catalogue.topology().queues
    queues = list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip())) or list(known)
    for name in queues:
        if name not in known:
            raise SettingsError(f"HEADRACE_QUEUES or --queues names {name!r}; the contracts have: {', '.join(known)}")
    return queues


if __name__ == "__main__":
    code = main()
    if threading.active_count() > 1:
        # A plain function that runs on past the drain time would keep the interpreter from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
