"""A job that may kill its process runs alone among its like, so that it takes no other suspect with it."""

from __future__ import annotations

from collections.abc import Callable


class Suspects:
    """Whose turn it is, over all queues of a process.

    A delivery whose last attempt ended with its process is a suspect: it may be the killer, or have run beside it. One suspect at
    a time has its turn, and is claimed only then; the others wait unclaimed, and a crash says nothing of them. An innocent one is
    cleared by its next run.
    """

    def __init__(self) -> None:
        self._busy = False
        self._asking: dict[Callable[[], bool], None] = {}

    def ask(self, begin: Callable[[], bool]) -> None:
        """Call `begin` when the turn is free; it returns whether it takes it. Asking twice is asking once."""
        self._asking[begin] = None
        self._next()

    def ended(self) -> None:
        """The turn is over."""
        self._busy = False
        self._next()

    def _next(self) -> None:
        while self._asking and not self._busy:
            begin = next(iter(self._asking))
            del self._asking[begin]
            self._busy = begin()
