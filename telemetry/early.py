"""SIGTERM and SIGINT while modules load: noted, for the event loop to act on once there is one.

A container's first process has no default action for them: one that comes while modules load, for a third of a second or, where
thirty pods start on two cores, for some seconds, would be lost, and the process would work on until SIGKILL. This module loads
nothing beyond the interpreter's own.
"""

from __future__ import annotations

import os
import signal
import time

# One wish may come as several signals: a terminal's Ctrl-C may reach a process both directly and through what keeps it. Nobody asks
# twice within a second.
REPEATED_WITHIN = 1.0
ASKED = (signal.SIGTERM, signal.SIGINT)

_first: list[float] = []  # when it was asked for, monotonic seconds


def note_signals() -> None:
    """From now on, until `signals.listen`: the first is noted, one that comes a second or more later ends the process."""
    for number in ASKED:
        signal.signal(number, _noted)


def was_asked() -> bool:
    """Whether the end was asked for before the event loop listened."""
    return bool(_first)


def _noted(*_: object) -> None:
    now = time.monotonic()  # noqa: TID251 - core/clock.py loads more than this module may
    if not _first:
        _first.append(now)
    elif now - _first[0] >= REPEATED_WITHIN:
        os._exit(1)
