"""A process that a handler forks is not a consumer: it must not answer to our signals."""

from __future__ import annotations

import os
import signal
import threading

from telemetry.early import OURS, PARENT_DIED

_mask = threading.local()
_done: list[bool] = []


def leave_signals_to_parents() -> None:
    """From now on give each forked child the signals' defaults. Once a process; a second call does nothing.

    A child of `multiprocessing`'s fork inherits our handlers and the descriptor that they write to, which is our event loop's: the
    SIGTERM with which `Pool.terminate` ends it would not end the child, and would drain us instead. One that comes between the fork
    and the change waits until that is made.
    """
    if not _done:
        _done.append(True)
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_reset)


def _block() -> None:
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _reset() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, PARENT_DIED):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _unblock()
