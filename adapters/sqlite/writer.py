"""The thread that writes: all that waits goes into one transaction. It survives whatever happens to its file or to itself."""

from __future__ import annotations

import contextlib
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Sequence

from adapters.sqlite.file import Opened, SqliteFile
from adapters.sqlite.transaction import Answer, DatabaseUnavailable, Piece, Unanswered, named, transact
from core.chance import Chance
from core.errors import HeadraceError
from telemetry import logs

_log = logs.get("sqlite.writer")

# Work that may wait for the writer. A piece is a whole window or batch, so this is far beyond what callers have in flight.
MOST_WAITING = 10_000
# Pieces in one transaction: bounds how long another process waits for the lock.
MOST_IN_GROUP = 200
# The file is opened again after a failure: at once, then with full jitter up to 0.1 s, 0.2 s ... 1 s.
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0


class Writer:
    """turns: how many groups it has seen the end of, so that its owner sees whether it gets on.
    troubles: how often it could not begin, and not for a lock: then the others of this process begin again, too, since SQLite
    forgets a spoiled index of the log only when no connection is left."""

    def __init__(self, file: SqliteFile, chance: Chance) -> None:
        self.turns = 0
        self.troubles = 0
        self._file = file
        self._chance = chance
        self._waiting: deque[Piece] = deque()
        self._group: list[Piece] = []
        self._wake = threading.Condition()
        self._closing = threading.Event()
        self._opened: Opened | None = None
        self._failures = 0
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._group

    def start(self) -> None:
        self._closing.clear()
        if self._group:  # of a thread that has ended
            self._answer([(None, Unanswered("the writer has ended"))] * len(self._group))
        self._thread = threading.Thread(target=self._write_forever, name="sqlite-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """It writes what waits, and ends."""
        self._closing.set()
        with self._wake:
            self._wake.notify()

    def join(self) -> None:
        """Blocks until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def add(self, piece: Piece) -> bool:
        """False: too much is waiting."""
        with self._wake:
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(piece)
            self._wake.notify()
        return True

    def drop(self, piece: Piece) -> bool:
        """Whether it was not begun, and so never will be."""
        with self._wake:
            piece.dropped = not piece.begun
        return piece.dropped

    def _write_forever(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # its owner sees that it has ended
            _log.critical("the writer ends", exc_info=error)
        finally:
            self._close()

    def _turn(self) -> bool:
        """Whether another one follows."""
        try:
            if not self._next_group():
                return False
            self._write_group()
        except BaseException as error:  # whatever it is: the group gets an answer, and the thread goes on
            self._failed(error)
        return True

    def _next_group(self) -> bool:
        """Wait for work. False: there is none, and none will come."""
        with self._wake:
            while not self._group:
                while not self._waiting and not self._closing.is_set():
                    self._wake.wait()
                if not self._waiting:
                    return False
                self._begin_some()
        return True

    def _begin_some(self) -> None:
        while self._waiting and len(self._group) < MOST_IN_GROUP:
            piece = self._waiting[0]
            if not piece.dropped:
                piece.begun = True
                self._group.append(piece)
            self._waiting.popleft()

    def _write_group(self) -> None:
        if self._opened is not None and not self._file.is_still(self._opened):
            self._close()
        if self._opened is None:
            self._opened = self._file.open()
        answers = transact(self._opened.connection, self._group)
        if not self._file.is_still(self._opened):
            # Written into a file that has no name any more: it is gone when the last process has closed it.
            raise Unanswered("the file was deleted or replaced")
        self._failures = 0
        self._answer(answers)
        if any(isinstance(error, DatabaseUnavailable) for _, error in answers):
            self._close()  # an unreadable page, a failing disk: a new connection holds nothing of it in its cache

    def _failed(self, error: BaseException) -> None:
        """Answer the group, and forget the connection: the locks that it holds may be the reason."""
        why = named(error)
        if not isinstance(why, DatabaseUnavailable):
            why = DatabaseUnavailable(str(why))
        self._answer([(None, why)] * len(self._group))
        self._close()
        self.troubles += not isinstance(why, Unanswered) and "locked" not in str(why) and "full" not in str(why)
        if not isinstance(error, HeadraceError):
            _log.error("writing has failed", why=str(why), exc_info=error)
        elif self._failures == 0:
            _log.warning("writing fails", why=str(why))
        pause = self._chance.uniform(0.0, min(FIRST_PAUSE * 2.0**self._failures, LAST_PAUSE)) if self._failures else 0.0
        self._failures = min(self._failures + 1, 10)
        self._closing.wait(pause)

    def _answer(self, answers: Sequence[Answer]) -> None:
        """One call for each event loop; in a process there is one, and in a test run one after the other."""
        loops: dict[AbstractEventLoop, list[tuple[Piece, Answer]]] = {}
        for piece, answer in zip(self._group, answers, strict=True):
            loops.setdefault(piece.future.get_loop(), []).append((piece, answer))
        self._group = []
        self.turns += 1
        for loop, done in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
                loop.call_soon_threadsafe(_finish, done)

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(Exception):
                opened.connection.close()


def _finish(done: Sequence[tuple[Piece, Answer]]) -> None:
    for piece, answer in done:
        piece.answer(*answer)
