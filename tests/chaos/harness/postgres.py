"""PostgreSQL as the handlers' own database; RabbitMQ and Redis under the programs are well."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg
import pytest

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.project import DATABASE, ROOT
from tests.chaos.harness.rabbit import Rabbit
from tests.chaos.harness.setups import OUTAGE, blocking
from tests.chaos.harness.small import SmallDisk
from tests.chaos.harness.system import Server
from tests.servers.postgres import Postgres


class PostgresRows(Rabbit):
    """Its data are on a small disk: what initdb writes is 40 MB, and a segment of the write-ahead log 16 MB."""

    role = "database"
    types = ("work.row",)
    queues = ("rows",)

    async def open(self) -> None:
        if not (ROOT / DATABASE).exists():
            pytest.skip(f"{DATABASE}, which this is about, went with the example")
        self.disk = SmallDisk(self.folder / "disk", megabytes=128)
        self.disk.mount()
        self.postgres = Postgres(self.folder / "disk")
        await asyncio.gather(super().open(), blocking(self.postgres.start))
        await blocking(self.postgres.sql, "SELECT 1")

    async def close(self) -> None:
        await super().close()
        await blocking(self.postgres.stop)
        self.disk.unmount()

    async def servers(self) -> dict[str, Server]:
        servers = await super().servers()
        broker = Server("BROKER", servers["broker"].url)
        return servers | {"broker": broker, "database": Server("DATABASE", self.postgres.url, (self.postgres.port,))}

    async def harm(self, fault: str, program: str) -> Harm:
        match fault:
            case "kill":
                return Harm(lambda: blocking(self.postgres.kill), lambda: blocking(self._start), OUTAGE)
            case "rolling restart":
                return Harm(lambda: blocking(self.postgres.stop), lambda: blocking(self._start), 0.0)
            case "disk full":
                return Harm(lambda: blocking(self._fill), lambda: blocking(self._recover), 8.0)
        return await super(Rabbit, self).harm(fault, program)

    def _start(self) -> None:
        self.postgres.start()
        self.postgres.sql("SELECT 1")

    def _fill(self) -> None:
        """It has written its log ahead of what it needs: the next segment is asked for, and does not fit."""
        self.disk.fill()
        with contextlib.suppress(psycopg.Error, RuntimeError):
            self.postgres.sql("SELECT pg_switch_wal()")

    def _recover(self) -> None:
        """A server whose log did not fit ends, and is started again by its supervisor."""
        self.disk.clear()
        if not self.postgres.running:
            self.postgres.start()
        self.postgres.sql("SELECT 1")
