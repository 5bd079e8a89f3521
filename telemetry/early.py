"""SIGTERM and SIGINT: heard from the first moment of a program, and while its event loop is held up.

A container's first process has no default action for them: one that comes while modules load, for a third of a second or, where
thirty pods start on two cores, for some seconds, would be lost, and the process would work on until SIGKILL. These are plain
handlers, not the event loop's: while the loop is blocked, a second signal still ends the process. This module loads
nothing beyond the interpreter's own.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

# One wish may come as several signals: a terminal's Ctrl-C may reach a process both directly and through what keeps it. No operator
# asks twice within a second.
REPEATED_WITHIN = 1.0
# The signal that Linux sends to a process when its keeper dies, once for each thread of the keeper, some 3 ms apart. It is a signal
# of its own: the keeper may have asked for a drain long before, and its end must not cut that short.
PARENT_DIED = signal.SIGUSR2
ASKED = (signal.SIGTERM, signal.SIGINT)
OURS = (*ASKED, PARENT_DIED)


class Wish:
    """That the program ends: not yet, once, or again. now: monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:  # noqa: TID251 - core/clock.py loads more than we may
        self._now = now
        self._first: float | None = None
        self._stop: Callable[[], None] | None = None
        self._end: Callable[[], object] = lambda: os._exit(1)

    def listen(self) -> None:
        """Note what comes from now on, until somebody hears."""
        for number in ASKED:
            signal.signal(number, self._asked)

    def hear(self, stop: Callable[[], None], end: Callable[[], object]) -> None:
        """Have `stop` called at the first signal, at once if that has come, and `end` at one that comes a second or more later.

        Both are called between any two instructions of the main thread.
        """
        self._stop, self._end = stop, end
        self.listen()
        signal.signal(PARENT_DIED, self._orphaned)
        if self._first is not None:
            stop()

    def _asked(self, *_: object) -> None:
        now = self._now()
        if self._first is None:
            self._first = now
            if self._stop is not None:
                self._stop()
        elif now - self._first >= REPEATED_WITHIN:
            self._end()

    def _orphaned(self, *_: object) -> None:
        if self._first is None:
            self._asked()


# The process's own.
wish = Wish()
