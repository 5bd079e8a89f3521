"""One SQLite file: a writer thread that commits in groups, and a connection for short reads on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from jobs.adapters.sqlite.schema import SCHEMA, STEPS, VERSION
from jobs.errors import HeadraceError, SettingsError

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

MEMORY = ":memory:"
# Work that may wait for the writer. A piece is a whole window or batch, so this is far beyond what callers have in flight.
MOST_WAITING = 10_000
# Pieces in one transaction: bounds how long another process waits for the lock.
MOST_IN_GROUP = 200
# While anything happens we look for the commits of other processes every 5 ms, and every 25 ms after a second of quiet.
# One look (PRAGMA data_version) takes 3 µs of CPU.
LOOK_BUSY, LOOK_QUIET, QUIET_AFTER = 0.005, 0.025, 1.0


class DatabaseUnavailable(HeadraceError):
    """The file cannot be opened, is locked for too long, or the disk is full. Adapters turn it into their port's error."""


class Database:
    """Shared by all adapters of a process that name the same file."""

    _open: ClassVar[dict[str, Database]] = {}

    def __init__(self, path: str, timeout: float) -> None:
        """timeout: seconds to wait for another process's lock."""
        self._path = path
        self._timeout = timeout
        self._users = 0
        self._waiting: deque[tuple[Work[Any], asyncio.Future[Any], asyncio.AbstractEventLoop]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.listeners: set[Callable[[], None]] = set()

    @classmethod
    def at(cls, path: str, timeout: float) -> Database:
        """The database of this process at `path`; a private one for `:memory:` each time but for the same event loop."""
        key = path if path == MEMORY else str(Path(path).absolute())
        if key not in cls._open:
            cls._open[key] = cls(key, timeout)
        return cls._open[key]

    async def open(self) -> None:
        """Open once more. Raises DatabaseUnavailable, or SettingsError for a file of a newer version."""
        if self._users == 0:
            try:
                self._reader = self._migrated()
            except (sqlite3.Error, OSError) as error:
                raise DatabaseUnavailable(f"{self._path}: {error}") from None
            if self._path != MEMORY:
                self._closing = False
                self._thread = threading.Thread(target=self._write_forever, name="sqlite-writer", daemon=True)
                self._thread.start()
                self._watcher = asyncio.get_running_loop().create_task(self._watch())
        self._users += 1

    async def close(self) -> None:
        """The last user's close commits what is waiting and closes the file."""
        if self._users == 0:
            return
        self._users -= 1
        if self._users:
            return
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._thread is not None:
            with self._wake:
                self._closing = True
                self._wake.notify()
            await asyncio.to_thread(self._thread.join, self._timeout + 5.0)
            self._thread = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        Database._open.pop(self._path, None)

    def write(self, work: Work[Result]) -> asyncio.Future[Result]:
        """Run `work` in the next transaction; the future ends when that is on the disk.

        It fails with what `work` raised, whose own changes are undone, or with DatabaseUnavailable.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if self._reader is None or len(self._waiting) >= MOST_WAITING:
            future.set_exception(DatabaseUnavailable("not open" if self._reader is None else "too much is waiting to be written"))
        elif self._thread is None:
            _finish([(future, *_group(self._reader, [work])[0])])
            self._tell()
        else:
            with self._wake:
                self._waiting.append((work, future, loop))
                self._wake.notify()
        return future

    def read(self, work: Work[Result]) -> Result:
        """Run a short read now, on the event loop: an index look-up takes some 10 µs, and readers never wait in WAL mode."""
        if self._reader is None:
            raise DatabaseUnavailable("not open")
        try:
            return work(self._reader)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(str(error)) from None

    def _migrated(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        if self._path != MEMORY:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is synced before it is answered. NORMAL would lose the last commits with the power, and 202 means durable.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16384")
        return connection

    async def _watch(self) -> None:
        """Tell the listeners when another connection, of this process or another, has committed."""
        seen, quiet = None, 0.0
        while self._reader is not None:
            version = self._reader.execute("PRAGMA data_version").fetchone()[0]
            if version != seen:
                seen, quiet = version, 0.0
                self._tell()
            pause = LOOK_BUSY if quiet < QUIET_AFTER else LOOK_QUIET
            quiet += pause
            await asyncio.sleep(pause)

    def _tell(self) -> None:
        for listener in tuple(self.listeners):
            listener()

    def _write_forever(self) -> None:
        try:
            connection = self._connect()
        except sqlite3.Error as error:
            connection, broken = None, DatabaseUnavailable(str(error))
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    break
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_IN_GROUP))]
            if connection is None:
                results: list[tuple[Any, Exception | None]] = [(None, broken)] * len(group)
            else:
                results = _group(connection, [work for work, _, _ in group])
            done = [(future, *result) for (_, future, _), result in zip(group, results, strict=True)]
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                group[0][2].call_soon_threadsafe(_finish, done)
        if connection is not None:
            connection.close()


def _group(connection: sqlite3.Connection, works: list[Work[Any]]) -> list[tuple[Any, Exception | None]]:
    """Run all in one transaction, each in a savepoint of its own, so that one failure does not undo its neighbours."""
    results: list[tuple[Any, Exception | None]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for work in works:
            connection.execute("SAVEPOINT piece")
            try:
                results.append((work(connection), None))
            except Exception as error:
                connection.execute("ROLLBACK TO piece")
                results.append((None, error if isinstance(error, HeadraceError) else DatabaseUnavailable(str(error))))
            connection.execute("RELEASE piece")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return [(None, DatabaseUnavailable(str(error)))] * len(works)
    return results


def _finish(done: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for future, result, error in done:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _known_version(connection)
        scripts = [SCHEMA] if version == 0 else []
        scripts += [script for step, script in STEPS.items() if step > version]
        for statement in ";".join(scripts).split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        # All or nothing: half a migration under the old version number could never be tried again.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _known_version(connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise SettingsError(f"the SQLite file has schema version {version}; this release knows {VERSION}: use a newer one")
    return version
