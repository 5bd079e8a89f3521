"""One SQLite file that is broker, outcome store and journal, as `headrace up` has it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.processes import kill_and_start, roll
from tests.chaos.harness.setups import Setup, blocking
from tests.chaos.harness.small import SmallDisk
from tests.chaos.harness.system import Server


class Sqlite(Setup):
    """A file for each system, on a small disk."""

    async def open(self) -> None:
        self.disk = SmallDisk(self.folder / "disk", megabytes=64)
        self.disk.mount()
        self._files = 0

    async def close(self) -> None:
        await super().close()
        self.disk.unmount()

    @property
    def _file(self) -> str:
        return str(self.folder / "disk" / f"headrace-{self._files}.db")

    async def servers(self) -> dict[str, Server]:
        self._files += 1
        return {role: Server(role.upper(), f"sqlite:///{self._file}") for role in ("broker", "outcomes")}

    async def left(self) -> dict[str, int]:
        def count() -> dict[str, int]:
            connection = sqlite3.connect(self._file, timeout=10)
            try:
                return dict(connection.execute("SELECT queue, count(*) FROM messages GROUP BY queue").fetchall())
            finally:
                connection.close()

        return await asyncio.to_thread(count)

    async def harm(self, fault: str, program: str) -> Harm:
        match fault:
            case "kill":
                return kill_and_start(await self.system(), program)
            case "rolling restart":
                return roll(await self.system())
            case "disk full":
                return Harm(lambda: blocking(self.disk.fill), lambda: blocking(self.disk.clear), 8.0)
            case "stall 5 s":
                return self._locked(5.0)
            case "stall 40 s":
                return self._locked(40.0)
        raise KeyError(fault)

    def _locked(self, seconds: float) -> Harm:
        """Somebody else holds the one lock that writers need, as a backup that has gone astray would."""
        begin, end = _lock(self._file)
        return Harm(begin, end, seconds)


def _lock(file: str) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
    connection = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)

    def release() -> None:
        connection.execute("ROLLBACK")
        connection.close()

    return lambda: blocking(connection.execute, "BEGIN IMMEDIATE"), lambda: blocking(release)
