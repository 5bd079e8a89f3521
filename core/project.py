"""Your own part: the package `app`, with job types, handlers, resources and settings. Of the engine only this module names it."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from core.catalogue import Catalogue
from core.errors import ContractError

# The environment variable that names another package, as the tests of this project do.
VARIABLE: Final = "HEADRACE_APP"


class Beside(NamedTuple):
    """The systems that run beside Headrace where `headrace up` runs it all on one machine.

    settings: environment variables of all programs. programs: by name, the arguments of the Python that runs each. shown: by name,
    files that a developer will want to look into.
    """

    settings: Mapping[str, str] = {}
    programs: Mapping[str, Sequence[str]] = {}
    shown: Mapping[str, Path] = {}


def app() -> str:
    """The name of the package."""
    return os.environ.get(VARIABLE) or "app"


def catalogue() -> Catalogue:
    """Of the job types in `contracts/`. Raises ContractError."""
    return Catalogue.of(_package(f"{app()}.contracts"))


def handlers() -> tuple[ModuleType, ...]:
    """The packages in which handlers and resources are looked for; `resources/` may be missing. Raises ContractError."""
    found, resources = _package(f"{app()}.handlers"), f"{app()}.resources"
    return (importlib.import_module(resources), found) if find_spec(resources) else (found,)


def beside(data: Path, free_port: Callable[[], int]) -> Beside:
    """The settings that `local/` gives for a system in the folder `data`; none where it is missing."""
    name = f"{app()}.local"
    return importlib.import_module(name).beside(data, free_port) if find_spec(name) else Beside()


def import_all() -> None:
    """Every module of it, so that its settings classes are there. Raises ContractError."""
    for info in pkgutil.walk_packages(_package(app()).__path__, f"{app()}."):
        importlib.import_module(info.name)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that is imported in it
        folder = name.replace(".", "/")
        raise ContractError(f"there is no package {name}: make the folder {folder}/ with an empty __init__.py") from None
