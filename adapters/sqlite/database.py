"""One SQLite file on the event loop: writes go to the writer's thread, short reads use a connection of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from adapters.sqlite.file import MEMORY, Opened, SqliteFile
from adapters.sqlite.transaction import DatabaseUnavailable, Piece, Result, Unanswered, Work, named, transact
from adapters.sqlite.writer import Writer
from core.chance import Chance, SystemChance
from core.clock import Clock
from core.errors import BadRecord, HeadraceError
from telemetry.supervisor import Beat, Supervised, Supervisor

__all__ = ["MEMORY", "Database", "DatabaseUnavailable", "Unanswered", "Work"]

Made = TypeVar("Made")

# While anything happens we look for the commits of other processes every 5 ms, and every 25 ms after a second of quiet.
# One look (PRAGMA data_version, and three `stat`) takes 8 µs of CPU.
LOOK_BUSY, LOOK_QUIET, QUIET_AFTER = 0.005, 0.025, 1.0
# In WAL mode a reader waits only for a recovery after a crash. It runs on the event loop.
READER_WAIT_MS = 50
# The writer's owner looks at it so often; a writer that gets on with nothing for longer than this beyond its own limits is stuck.
OWNER_LOOK, STUCK_AFTER = 0.25, 30.0


class Database:
    """Shared by all adapters of a process that name the same file.

    answers_within: seconds after which each write has its answer. supervisor: owns the watcher and the writer. patience: seconds
    after which one of these that gets on with nothing begins again.
    """

    _open: ClassVar[dict[str, Database]] = {}

    def __init__(
        self, path: str, timeout: float, clock: Clock, chance: Chance | None = None, supervisor: Supervisor | None = None
    ) -> None:
        """timeout: seconds to wait for another process's lock, and as much again for what waits before."""
        self.answers_within = 2 * timeout
        self.patience = STUCK_AFTER + self.answers_within
        self.listeners: set[Callable[[], None]] = set()
        self._chance = chance or SystemChance()
        self.supervisor = supervisor or Supervisor(chance=self._chance)
        self._file = SqliteFile(path, timeout, clock)
        self._writer = Writer(self._file, self._chance)
        self._users = 0
        self._opening: asyncio.Future[Opened] | None = None
        self._reader: Opened | None = None
        self._suspect = False
        self._troubles = 0
        self._loops: list[Supervised] = []

    @classmethod
    def at(
        cls, path: str, timeout: float, clock: Clock, chance: Chance | None = None, supervisor: Supervisor | None = None
    ) -> Database:
        """The database of this process at `path`. Further arguments count only at the first call."""
        key = path if path == MEMORY else str(Path(path).absolute())
        if key not in cls._open:
            cls._open[key] = cls(key, timeout, clock, chance, supervisor)
        return cls._open[key]

    async def open(self) -> None:
        """Open once more. Raises DatabaseUnavailable, or SettingsError for a file of a newer version."""
        if self._reader is None:
            opened = self._file.open() if self._in_memory else await self._connection()
            if self._reader is None:  # another adapter may have been first
                self._use(opened)
        if not self._in_memory and not self._loops:
            self._loops.append(self.supervisor.start("sqlite writer", self._own_writer, patience=self.patience))
            self._loops.append(self.supervisor.start("sqlite watcher", self._watch, patience=self.patience))
        self._users += 1

    async def close(self) -> None:
        """The last user's close commits what is waiting and closes the file. Takes at most some 15 s beyond `answers_within`."""
        if self._users == 0:
            return
        self._users -= 1
        if self._users:
            return
        for loop in self._loops:
            await loop.stop()
        self._loops.clear()
        self._writer.stop()
        await asyncio.wait({in_thread(self._writer.join, "sqlite-close")}, timeout=self.answers_within + 1.0)
        self._drop_reader()
        Database._open.pop(self._file.path, None)

    def write(self, work: Work[Result]) -> asyncio.Future[Result]:
        """Run `work` in the next transaction; the future ends when that is on the disk, or after `answers_within`.

        It fails with BadRecord where `work` itself is at fault, whose own changes are undone, with Unanswered when it may be
        committed all the same, and else with DatabaseUnavailable.
        """
        loop = asyncio.get_running_loop()
        piece = Piece(work, loop.create_future())
        if not self._users:
            piece.answer(None, DatabaseUnavailable("not open"))
        elif self._in_memory:
            self._write_here(piece)
        elif self._writer.add(piece):
            piece.timer = loop.call_later(self.answers_within, self._give_up, piece)
        else:
            piece.answer(None, DatabaseUnavailable("too much is waiting to be written"))
        return piece.future

    def read(self, work: Work[Result]) -> Result:
        """Run a short read now, on the event loop: an index look-up takes some 10 µs, and readers never wait in WAL mode.

        Raises BadRecord for what cannot be read, or DatabaseUnavailable."""
        if self._reader is None:
            raise DatabaseUnavailable("not open")
        try:
            return work(self._reader.connection)
        except Exception as error:
            why = named(error)
            if not isinstance(why, BadRecord) and not self._in_memory:
                self._suspect = True  # the watcher opens another
            raise why from None

    @property
    def _in_memory(self) -> bool:
        return self._file.path == MEMORY

    def _write_here(self, piece: Piece) -> None:
        """In memory there is nothing to wait for."""
        if self._reader is None:
            return piece.answer(None, DatabaseUnavailable("not open"))
        try:
            ((result, error),) = transact(self._reader.connection, [piece])
        except HeadraceError as failed:
            return piece.answer(None, failed)
        piece.answer(result, error)
        self._tell()
        return None

    def _give_up(self, piece: Piece) -> None:
        if piece.future.done():
            return
        said = f"no answer within {self.answers_within:g} s"
        piece.answer(None, DatabaseUnavailable(said) if self._writer.drop(piece) else Unanswered(said))

    async def _connection(self) -> Opened:
        """A new connection, made in a thread; only one at a time. Raises DatabaseUnavailable after `answers_within`: it goes on,
        and the next call waits for the same."""
        opening = self._opening = self._opening or in_thread(self._file.open, "sqlite-open")
        await asyncio.wait({opening}, timeout=self.answers_within)
        if not opening.done():
            raise DatabaseUnavailable(f"{self._file.path}: not open within {self.answers_within:g} s")
        if self._opening is opening:
            self._opening = None
        return opening.result()

    def _use(self, opened: Opened) -> None:
        opened.connection.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS}")
        self._drop_reader()
        self._reader, self._suspect = opened, False

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(Exception):
                reader.connection.close()

    async def _own_writer(self, beat: Beat) -> None:
        """Start the thread, or take over one that runs; fail when it has ended, or gets on with nothing."""
        if not self._writer.alive:
            self._writer.start()
        seen = -1
        while self._writer.alive:
            if self._writer.idle or self._writer.turns != seen:
                seen = self._writer.turns
                beat()
            await asyncio.sleep(OWNER_LOOK)
        raise RuntimeError("the thread has ended")

    async def _watch(self, beat: Beat) -> None:
        """Tell the listeners when another connection, of this process or another, has committed; open the file again if need be."""
        seen, quiet = None, 0.0
        while True:
            beat()
            version = self._version()
            if version is None:
                await self._open_again()
            elif version != seen:
                seen, quiet = version, 0.0
                self._tell()
            pause = LOOK_BUSY if quiet < QUIET_AFTER else LOOK_QUIET
            quiet += pause
            await asyncio.sleep(pause)

    def _version(self) -> int | None:
        """Changes with each commit of another connection. None: the file is not there, or is another one."""
        try:
            if self._troubles != self._writer.troubles:
                self._troubles = self._writer.troubles
                self._drop_reader()
            if self._reader is None or self._suspect or not self._file.is_still(self._reader):
                return None
            return int(self.read(lambda c: c.execute("PRAGMA data_version").fetchone()[0]))
        except (DatabaseUnavailable, OSError):
            return None

    async def _open_again(self) -> None:
        try:
            self._use(await self._connection())
            self._tell()
        except HeadraceError:
            self._drop_reader()
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    def _tell(self) -> None:
        for listener in tuple(self.listeners):
            listener()


def in_thread(make: Callable[[], Made], name: str) -> asyncio.Future[Made]:
    """Run it in a thread of its own, which the program's end does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Made] = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # read, also when no caller waits any more

    def set_answer(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(error)

    def run() -> None:
        answer: tuple[Any, BaseException | None]
        try:
            answer = make(), None
        except BaseException as error:  # it belongs to the caller that waits
            answer = None, error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_answer, *answer)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
