"""Runs scenarios for tests: one setup of servers at a time, each scenario once, its result for every cell that shares it."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import time
from pathlib import Path

import pytest

from tests.chaos.cells import Cell
from tests.chaos.harness import scenario
from tests.chaos.harness.project import ROOT
from tests.chaos.harness.proxy import Loop
from tests.chaos.harness.scenario import Result
from tests.chaos.harness.setups import Setup

SETUPS = {
    "rabbitmq": "rabbit:Rabbit",
    "rabbitmq-3": "rabbit3:Rabbit3",
    "redis": "redis:Redis",
    "redis-sentinel": "redis_many:Sentinels",
    "redis-cluster": "redis_many:Cluster",
    "sqlite": "sqlite:Sqlite",
    "postgres": "postgres:PostgresRows",
    "processes": "processes:Processes",
}
LOGS = ROOT / "build" / "chaos"  # of programs about which something was found
_RUN_WITHIN = 420.0  # seconds for one scenario, with the start of its servers


class Stage:
    """folder: of everything that is started; servers that run as another user must be able to enter it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runner = asyncio.Runner()
        self._loop = Loop()
        self._name, self._setup = "", None  # type: str, Setup | None
        self._results: dict[tuple[str, tuple[str, str]], Result | BaseException] = {}

    def result(self, cell: Cell) -> Result:
        """Of the scenario of this cell. Raises what broke it, for every cell of it."""
        key = (cell.setup, cell.scenario)
        if key not in self._results:
            self._results[key] = self._runner.run(self._bounded(cell))
        found = self._results[key]
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        self._runner.run(self._close())
        self._runner.close()
        self._loop.end()

    async def _bounded(self, cell: Cell) -> Result | BaseException:
        try:
            async with asyncio.timeout(_RUN_WITHIN):
                return await self._run(cell)
        except (Exception, pytest.skip.Exception) as error:  # kept, so that cells that share it do not run it again
            await self._close()
            return error

    async def _run(self, cell: Cell) -> Result:
        setup = await self._on(cell.setup)
        system = await setup.system()
        await system.until_ready()
        began = time.monotonic()
        result = await scenario.run(system, await setup.harm(cell.fault, cell.program), setup.left, setup.types)
        result.seconds = time.monotonic() - began
        if result.findings:
            _keep(system.folder, cell)
            await setup.forget()  # what comes next begins with programs that are well
        return result

    async def _on(self, name: str) -> Setup:
        if self._setup is None or self._name != name:
            await self._close()
            module, _, kind = SETUPS[name].partition(":")
            made = getattr(importlib.import_module(f"tests.chaos.harness.{module}"), kind)
            setup: Setup = made(self._folder / name, self._loop)
            self._name, self._setup = name, setup
            await setup.open()
        assert self._setup is not None
        return self._setup

    async def _close(self) -> None:
        setup, self._setup = self._setup, None
        if setup is not None:
            await setup.close()


def _keep(folder: Path, cell: Cell) -> None:
    there = LOGS / "-".join((cell.setup, *cell.scenario)).replace(" ", "-").strip("-")
    shutil.copytree(folder, there, dirs_exist_ok=True)
