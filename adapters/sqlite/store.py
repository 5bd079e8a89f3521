"""The base of the outcome store and the journal: a database whose unavailability is the store's."""

from __future__ import annotations

from typing import TypeVar

from adapters.sqlite.database import Database, DatabaseUnavailable, Work
from core.clock import Clock
from core.errors import SettingsError, StoreUnavailable
from core.settings import Settings
from telemetry.supervisor import Supervisor

Result = TypeVar("Result")


class SqliteStore:
    """Opened once; a file that could not be opened is tried again by each call of `open`."""

    def __init__(self, path: str, settings: Settings, clock: Clock, supervisor: Supervisor | None = None) -> None:
        self._database = Database.at(path, settings.store_timeout, clock, supervisor=supervisor)
        self._clock = clock
        self._opened = False

    async def open(self) -> None:
        """Raises StoreUnavailable."""
        if self._opened:
            return
        try:
            await self._database.open()
        except (DatabaseUnavailable, SettingsError) as error:
            raise StoreUnavailable(str(error)) from None
        self._opened = True

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await self._database.close()

    async def _write(self, work: Work[Result]) -> Result:
        try:
            return await self._database.write(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from None

    def _read(self, work: Work[Result]) -> Result:
        try:
            return self._database.read(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from None
