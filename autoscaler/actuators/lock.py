"""A folder that one process has at a time. The lock is the kernel's (flock): it goes with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from io import TextIOWrapper
from pathlib import Path

from core.errors import SettingsError


def unusable(setting: str, error: OSError) -> SettingsError:
    """setting: with its value, as it was given."""
    return SettingsError(f"{setting}: {error.strerror}; name a folder that can be made and written to")


class Taken(Exception):
    """Another process has it. pid: its number; "" in the moment in which it has the lock and has not written that yet."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"process {pid}" if pid else "another process")
        self.pid = pid


class FolderLock:
    """No program that the process starts inherits it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIOWrapper | None = None

    def take(self) -> None:
        """Raises Taken; OSError where the file cannot be made, or the file system has no locks."""
        file = self._path.open("a+", encoding="ascii")  # "w" would empty the file of the one who has it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip()
            file.close()
            raise Taken(pid) from None
        except OSError:
            file.close()
            raise
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
