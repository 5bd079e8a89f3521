"""All settings, contracts and handlers, read as the programs read them at their start."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from autoscaler.settings import ControllerSettings
from autoscaler.workloads import workloads_of
from cli import names
from consumer.app import check_limits
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core import project
from core.settings import load
from service.key_files import keys_of
from service.settings import GatewaySettings


def loaded(more: Mapping[str, str] | None = None) -> tuple[ConsumerSettings, Registry]:
    """more: variables that go before those of the environment. Raises HeadraceError for the first that cannot be used."""
    with _environment(more or {}):
        settings = load(ConsumerSettings)
        keys_of(load(GatewaySettings))
        registry = Registry.of(project.catalogue(), *project.handlers())
        workloads_of(load(ControllerSettings), registry.catalogue)
        for kind in names.of_app():
            load(kind)
    check_limits(settings, registry, registry.catalogue.topology().queues)
    return settings, registry


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
