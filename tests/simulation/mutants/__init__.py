"""Faults that the code has had, put back while a simulation runs: so it is known what the simulation sees.

Each is a context manager that exchanges one function at one seam. Here patching is the point: it is what is tested.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

Mutant = Callable[[], AbstractContextManager[None]]
MUTANTS: dict[str, Mutant] = {}


def named(name: str) -> AbstractContextManager[None]:
    """The mutant of that name; none for ""."""
    if not name:
        return contextlib.nullcontext()
    load()
    return MUTANTS[name]()


def load() -> None:
    """Fill the table: each of these modules puts its mutants into it."""
    from tests.simulation.mutants import broker, consumer, controller, store  # noqa: F401


def mutant(function: Callable[[], Iterator[None]]) -> Mutant:
    """Put it into the table, under its name."""
    made = contextlib.contextmanager(function)
    MUTANTS[function.__name__] = made
    return made


@contextlib.contextmanager
def exchanged(owner: Any, name: str, stand_in: Any) -> Iterator[None]:
    """`owner.name` is `stand_in`, for a while."""
    before = owner.__dict__[name]
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, before)
