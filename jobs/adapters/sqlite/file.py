"""The file itself: opening it, and seeing that it is still the one that was opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from jobs.adapters.sqlite.schema import migrate
from jobs.adapters.sqlite.transaction import DatabaseUnavailable
from jobs.clock import Clock

MEMORY = ":memory:"


class Opened(NamedTuple):
    """identity: the inodes of its files; empty in memory."""

    connection: sqlite3.Connection
    identity: tuple[int, ...]


class SqliteFile:
    """timeout: seconds to wait for the lock of another connection."""

    def __init__(self, path: str, timeout: float, clock: Clock) -> None:
        self.path = path
        self._timeout = timeout
        self._clock = clock

    def open(self) -> Opened:
        """A connection to the file, which is made where there is none. Raises DatabaseUnavailable, or SettingsError for a file of a
        newer release. May wait for locks and disks: not on the event loop."""
        try:
            if self.path != MEMORY:
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
                return Opened(connection, self._identity())
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise DatabaseUnavailable(f"{self.path}: {error}") from None

    def is_still(self, opened: Opened) -> bool:
        """Whether its names still lead to it: three `stat`, 5 µs. Whoever deletes a file deletes its log and its index a moment
        later, and a new file may have been made between the two. Raises OSError."""
        return self._identity() == opened.identity

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is synced before it is answered. NORMAL would lose the last commits with the power, and 202 means durable.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16384")
        migrate(connection, self._clock)

    def _identity(self) -> tuple[int, ...]:
        return () if self.path == MEMORY else tuple(_inode(self.path + part) for part in ("", "-wal", "-shm"))


def _inode(path: str) -> int:
    """0: there is none."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - asked for 600 times a second, and a Path costs more than the question
    except FileNotFoundError:
        return 0
