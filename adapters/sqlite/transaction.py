"""Many pieces of work in one transaction, each in a savepoint of its own, so that one failure does not undo its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from core.errors import BadRecord, HeadraceError

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]
Answer = tuple[Any, HeadraceError | None]


class DatabaseUnavailable(HeadraceError):
    """The file cannot be opened, is locked for too long, or the disk is full. Adapters turn it into their port's error."""


class Unanswered(DatabaseUnavailable):
    """It was begun, and it is unknown whether it is, or will be, on the disk."""


@dataclass(slots=True, eq=False)
class Piece:
    """Work, and the future of its result. begun: it may be committed, now or later. dropped: it never will be."""

    work: Work[Any]
    future: asyncio.Future[Any]
    begun: bool = False
    dropped: bool = False
    timer: asyncio.TimerHandle | None = None

    def answer(self, result: Any, error: HeadraceError | None) -> None:
        """On the event loop. A caller that has given up on it gets nothing."""
        if self.timer is not None:
            self.timer.cancel()
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def transact(connection: sqlite3.Connection, pieces: Sequence[Piece]) -> list[Answer]:
    """The answers, after a commit. Raises DatabaseUnavailable when nothing was done, and Unanswered when the commit failed."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        answers = [_run(connection, piece) for piece in pieces]
    except BaseException as error:
        _roll_back(connection)
        raise named(error) from None
    try:
        connection.execute("COMMIT")
    except BaseException as error:
        _roll_back(connection)
        raise Unanswered(f"the commit failed: {named(error)}") from None
    return answers


def named(error: BaseException) -> HeadraceError:
    """Whose fault it is: the file's, or that of the piece itself, which holds something that cannot be written or read."""
    if isinstance(error, HeadraceError):
        return error
    if isinstance(error, _OF_THE_ITEM) or (isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)):
        return BadRecord(f"{type(error).__name__}: {error}")
    if isinstance(error, (sqlite3.Error, OSError)):
        return DatabaseUnavailable(str(error))
    if not isinstance(error, Exception) or isinstance(error, MemoryError):
        return DatabaseUnavailable(f"{type(error).__name__}: {error}")
    return BadRecord(f"{type(error).__name__}: {error}")


_OF_THE_ITEM = (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError)


def _run(connection: sqlite3.Connection, piece: Piece) -> Answer:
    if piece.future.done():
        return None, None  # given up on while it waited
    connection.execute("SAVEPOINT piece")
    try:
        answer: Answer = piece.work(connection), None
    except BaseException as error:
        answer = None, named(error)
        try:
            connection.execute("ROLLBACK TO piece")
        except sqlite3.Error:  # SQLite has rolled back all of it by itself, as it does on a full disk
            raise error from None
    connection.execute("RELEASE piece")
    return answer


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
