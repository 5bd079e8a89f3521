"""One scenario: load, harm, load, quiet, judgement."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.judge import Finding, Judge, Left
from tests.chaos.harness.load import Load
from tests.chaos.harness.system import System

RATE = 10.0  # jobs a second
# A queue that is younger than 3 s does not survive the kill of its broker, so the load runs for longer than that before.
BEFORE, AFTER = 4.0, 4.0  # seconds
_DECIDED_WITHIN = 30.0  # seconds after all is quiet, for the controller


@dataclass
class Watch:
    """Looks at the programs while something is wrong with their servers."""

    system: System
    harm: Harm
    findings: list[Finding] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Once a second, until cancelled."""
        assert self.system.client is not None
        before = self.system.scaled()
        while True:
            for name, program in self.system.programs.items():
                kind = name.partition("-")[0]
                if kind in self.harm.kills + self.harm.stops:
                    continue
                status, document = await program.ask(self.system.client, "/livez")
                if not program.alive:
                    self._tell(kind, f"{name} has ended: {program.last_lines(3)[-600:]}")
                elif status not in (0, 200):
                    self._tell(kind, f"{name}: /livez answers {status}: {document}")
            self._look_at_scaled(before)
            await asyncio.sleep(1.0)

    def _look_at_scaled(self, before: dict[str, int]) -> None:
        """While it may be blind, the controller may add consumers, and takes none away; afterwards it has one at least."""
        now = self.system.scaled()
        blind = self.harm.healed_at == float("inf")
        if not self.harm.kills and not (before.items() <= now.items() if blind else now):
            self._tell("controller", f"its consumers were {before} and are {now}")

    def _tell(self, program: str, what: str) -> None:
        if program not in self._told:  # the first is enough
            self._told.add(program)
            self.findings.append(Finding((program,), what))


@dataclass
class Result:
    """The faults that one scenario found, and figures for people who want to see that something happened."""

    findings: list[Finding]
    figures: dict[str, object]
    seconds: float = 0.0


async def run(system: System, harm: Harm, left: Left, types: tuple[str, ...]) -> Result:
    load = Load(system.gateway.url, f"{uuid.uuid4().hex[:12]}", RATE, types)
    watch = Watch(system, harm)
    watching, stop = asyncio.create_task(watch.run()), asyncio.Event()
    loading = asyncio.create_task(load.run(stop))
    try:
        await asyncio.sleep(BEFORE)
        await _do(harm)
        await asyncio.sleep(AFTER)
        stop.set()
        await loading
        judge = Judge(system, load, harm, left)
        findings = await judge.judge() + await _decisions(system, harm)
        return Result([*findings, *watch.findings], judge.figures())
    finally:
        for task in (watching, loading):
            task.cancel()
        await asyncio.gather(watching, loading, return_exceptions=True)


async def _do(harm: Harm) -> None:
    harm.began_at = time.time()
    await harm.begin()
    try:
        await asyncio.sleep(harm.seconds)
    finally:
        await harm.end()
        harm.healed_at = time.time()


async def _decisions(system: System, harm: Harm) -> list[Finding]:
    """The controller decides again, and what it decides can be read."""
    assert system.client is not None
    newest: object = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DECIDED_WITHIN):
            while True:
                status, document = await system.gateway.ask(system.client, "/v1/scaling/gamma?limit=1")
                newest = document["items"][-1] if status == 200 and document["items"] else (status, document)
                if isinstance(newest, dict) and _seconds(newest["at"]) > harm.healed_at:
                    return []
                await asyncio.sleep(0.5)
    return [Finding(("controller",), f"no decision is in the journal since; the newest: {newest}")]


def _seconds(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp()
