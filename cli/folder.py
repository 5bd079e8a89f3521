"""The data folder of a local system: made where it is missing, and held by one `headrace up` at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from autoscaler.actuators.lock import FolderLock, Taken, unusable
from core.errors import SettingsError

_LOCK: Final = "up.lock"


def made(data: Path) -> Path:
    """Its absolute path. Raises SettingsError where it cannot be made."""
    data = data.absolute()
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(f"--data {data}", error) from None
    return data


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Make the folder, and hold it alone. Raises SettingsError where another process holds it.

    Two of them would share its files.
    """
    lock = FolderLock(made(data) / _LOCK)
    try:
        lock.take()
    except Taken as taken:
        raise _taken(data, taken.pid) from None
    except OSError as error:
        raise unusable(f"--data {data}", error) from None
    try:
        yield
    finally:
        lock.release()


def _taken(data: Path, pid: str) -> SettingsError:
    """pid: "" in the moment in which the other one has the lock and has not yet written its number."""
    who, stop = (f"the process {pid}", f"stop that one (Ctrl-C, or kill {pid})") if pid else ("another process", "stop that one")
    return SettingsError(f"--data {data}: `headrace up` runs with this folder already, as {who}; {stop}, or give another --data")
