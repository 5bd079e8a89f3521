"""The names of all settings, those of the handlers too, and the names in the environment that are none of them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values
from pydantic_settings import BaseSettings

from autoscaler.settings import ControllerSettings
from cli.api import KEY_VARIABLE
from consumer.settings import ConsumerSettings
from core import project
from core.settings import PREFIX, old_name, renamed
from service.settings import GatewaySettings

# Read by the command line, by tests and by the Makefile, and by no program.
_TOOLS = ("SIM_SCHEDULES", "BASE_IMAGE", "CHAOS_PROJECT", "CHECKOV", "HELM3")
_OTHERS = (KEY_VARIABLE, project.VARIABLE, *(PREFIX + name for name in _TOOLS))
_OTHERS_BEGIN = (PREFIX + "TEST_", PREFIX + "CLUSTER")


def of_app() -> list[type[BaseSettings]]:
    """The settings classes of what is yours, whose modules the registry has imported."""
    found = (kind for kind in _below(BaseSettings) if kind.__module__.startswith(f"{project.app()}."))
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def unknown() -> list[str]:
    """A line for each variable with our prefix, in the environment or in .env, that no program reads, or under its old name."""
    kinds: list[type[BaseSettings]] = [GatewaySettings, ConsumerSettings, ControllerSettings, *of_app()]
    fields = [(name, field) for kind in kinds for name, field in kind.model_fields.items()]
    known = {PREFIX + name.upper() for name, _ in fields} | set(_OTHERS)
    known |= {PREFIX + old_name(field).upper() for _, field in fields if old_name(field)}
    given = os.environ.keys() | (dotenv_values(".env").keys() if Path(".env").is_file() else set())
    found = [_told(name, known) for name in sorted(given) if _ours(name) and name.upper() not in known]
    return found + [line for kind in kinds for line in renamed(kind)]


def _ours(name: str) -> bool:
    return name.upper().startswith(PREFIX) and not name.upper().startswith(_OTHERS_BEGIN)


def _told(name: str, known: set[str]) -> str:
    near = _near(name.upper(), known)
    return f"{name} is not a setting, and nobody reads it" + (f"; did you mean {near[0]}?" if near else "")


def _below(kind: type[BaseSettings]) -> Iterator[type[BaseSettings]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def _near(name: str, known: set[str]) -> list[str]:
    """Compared without the prefix, which all have in common."""
    names = sorted(one.removeprefix(PREFIX) for one in known)
    return [PREFIX + near for near in difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1)]
