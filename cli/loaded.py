"""All settings, contracts and handlers, read as the programs read them at their start."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from autoscaler.settings import ControllerSettings
from autoscaler.workloads import workloads_of
from cli import names
from consumer.app import check_limits
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core import project
from core.errors import ContractError, HeadraceError
from core.settings import load
from core.text import text_of
from service.key_files import keys_of
from service.settings import GatewaySettings


def loaded(more: Mapping[str, str] | None = None) -> tuple[ConsumerSettings, Registry]:
    """more: variables that take precedence over the environment's. Raises HeadraceError for the first that cannot be used."""
    with _environment(more or {}):
        settings = load(ConsumerSettings)
        keys_of(load(GatewaySettings))
        with _one_line():
            registry = Registry.of(project.catalogue(), *project.handlers())
        workloads_of(load(ControllerSettings), registry.catalogue)
        for kind in names.of_app():
            load(kind)
    check_limits(settings, registry, registry.catalogue.topology().queues)
    return settings, registry


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn an error that a module of yours raises while it is loaded into one that names your line. Raises ContractError."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        where = f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else _last_of_yours(frames)
        raise ContractError(f"{where}: {type(error).__name__}: {text_of(error, 500)}") from error


def _last_of_yours(frames: Sequence[str]) -> str:
    yours = [frame for frame in frames if f"/{project.app().replace('.', '/')}/" in frame]
    return yours[-1] if yours else f"{project.app()}/"


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
