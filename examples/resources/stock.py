"""The stock of a shop, behind a pool of connections."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer import resource
from core.settings import load
from examples.settings import ShopSettings

_TABLE = "CREATE TABLE IF NOT EXISTS movements (idempotency_key TEXT PRIMARY KEY, article TEXT NOT NULL, pieces INTEGER NOT NULL)"


class Pool:
    """A fixed number of connections, each used by one thread at a time.

    The concurrency of a queue may be higher than the number of connections: a run then waits for a free one.
    """

    def __init__(self, path: Path, connections: int, wait: float) -> None:
        """wait: seconds."""
        self._wait = wait
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        for _ in range(connections):
            # Handlers that are plain functions run in threads, and no run has a thread of its own for ever.
            self._idle.put(sqlite3.connect(path, timeout=10.0, check_same_thread=False))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits at the end, rolls back on an error. Raises queue.Empty where no connection became free in time."""
        connection = self._idle.get(timeout=self._wait)
        try:
            with connection:
                yield connection
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()


@resource
def open_pool() -> Iterator[Pool]:
    settings = load(ShopSettings)
    path = Path(settings.shop_database)
    path.parent.mkdir(parents=True, exist_ok=True)
    pool = Pool(path, settings.shop_connections, settings.shop_wait)
    try:
        with pool.transaction() as connection:
            connection.execute(_TABLE)
        yield pool
    finally:
        pool.close()
