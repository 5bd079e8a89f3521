"""The file itself: opening it, and seeing that it is still the one that was opened."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from adapters.sqlite.schema import migrate
from adapters.sqlite.transaction import DatabaseUnavailable
from core.clock import Clock

MEMORY = ":memory:"
# Seconds within which every process sees that the file's index was deleted: its writer looks before each group.
_SEEN_WITHIN = 0.5


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
                self._let_others_see()
            connection = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
                return Opened(connection, self._whole_identity())
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise DatabaseUnavailable(f"{self.path}: {error}") from None

    def _let_others_see(self) -> None:
        """A log without an index: that was deleted, and others may still write by it. Two indexes of one log spoil the file."""
        if _inode(self.path) and _inode(self.path + "-wal") and not _inode(self.path + "-shm"):
            time.sleep(_SEEN_WITHIN)

    def is_still(self, opened: Opened) -> bool:
        """Whether its names still lead to it: three `stat`, 5 µs. A deletion removes the file first, and its log and its index a
        moment later, and a new file may have been made between the two. Raises OSError."""
        return self._identity() == opened.identity

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is synced before it is answered. NORMAL would lose the last commits with the power, and 202 means durable.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16384")
        migrate(connection, self._clock)

    def _whole_identity(self) -> tuple[int, ...]:
        """SQLite has one index a process and file: while another connection is open, a new one gets the deleted index."""
        identity = self._identity()
        if 0 in identity:
            raise DatabaseUnavailable(f"{self.path}: its -wal or -shm was deleted; it is opened once all have closed it")
        return identity

    def _identity(self) -> tuple[int, ...]:
        return () if self.path == MEMORY else tuple(_inode(self.path + part) for part in ("", "-wal", "-shm"))


def _inode(path: str) -> int:
    """0: there is none."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - asked for 600 times a second, and a Path costs more than the question
    except FileNotFoundError:
        return 0
