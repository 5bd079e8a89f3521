"""Handlers that kill, hang, fork and exit, in the real program on the embedded system."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import DeliveryRecord, Message
from core.settings import Settings
from tests.chaos.hostile import CONTRACTS, RETRY
from tests.servers import free_port


@dataclass
class Place:
    """A folder with the database, and one consumer at a time."""

    folder: Path
    settings: dict[str, str]
    broker: SqliteBroker
    store: SqliteOutcomes
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.subprocess.Process:
        url = f"sqlite:///{self.folder}/headrace.db"
        environment = os.environ | {"HEADRACE_BROKER": url, "HEADRACE_OUTCOMES": url, "HEADRACE_PROBE_PORT": str(self.port)}
        environment |= {"HEADRACE_DRAIN_SECONDS": "1", "RUNS": str(self.folder / "runs")} | self.settings
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.chaos.hostile", env=environment)
        return self.process

    async def submit(self, queue: str, do: str, n: float = 0.0) -> str:
        job_type = f"{queue}.run"
        envelope = Envelope(new_job_id(), job_type, SystemClock().wall())
        body = orjson.dumps({"do": do, "n": n})
        await self.broker.publish([Message(envelope.job_id, job_type, envelope.headers(), body)])[0]
        return envelope.job_id

    async def record(self, job_id: str) -> DeliveryRecord | None:
        job = await self.store.job(job_id)
        return job.deliveries[0] if job else None

    async def ended(self, job_id: str) -> DeliveryRecord:
        while not ((record := await self.record(job_id)) and record.state.final):
            await asyncio.sleep(0.05)
        return record

    async def begun(self, job_id: str) -> None:
        while not any(line[0] == job_id for line in self.runs()):
            await asyncio.sleep(0.05)

    def runs(self) -> list[list[str]]:
        file = self.folder / "runs"
        return [line.split(" ") for line in file.read_text().splitlines()] if file.exists() else []

    async def probe(self, path: str) -> int:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status


@pytest.fixture
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with _opened(tmp_path) as place, asyncio.timeout(100):
        yield place


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[Place]:
    path, settings, clock = str(folder / "headrace.db"), Settings(), SystemClock()
    broker = SqliteBroker(path, Catalogue(CONTRACTS).topology(), settings, clock)
    store = SqliteOutcomes(path, settings, clock)
    await broker.open()
    await store.open()
    place = Place(folder, {}, broker, store)
    try:
        yield place
    finally:
        if place.process is not None and place.process.returncode is None:
            place.process.kill()
            await place.process.wait()
        await broker.close()
        await store.close()


async def test_a_killer_dies_alone(place: Place) -> None:
    """One job of 32 kills its process. Each time it is started again, as an orchestrator does."""
    killer = await place.submit("co", "kill", 0.2)
    innocents = [await place.submit("co", "sleep", 0.4) for _ in range(31)]
    kills = 0

    async def keep_running() -> None:
        nonlocal kills
        while True:
            process = await place.start()
            if await process.wait() == -signal.SIGKILL:
                kills += 1

    keeping = asyncio.create_task(keep_running())
    dead = await place.ended(killer)
    ended = [await place.ended(one) for one in innocents]
    keeping.cancel()
    assert [record.state for record in ended] == [State.SUCCEEDED] * 31
    assert (dead.state, dead.attempts) == (State.DEAD, RETRY.max_attempts)
    (letter,) = (await place.store.dead_letters()).items
    assert (letter.job_id, letter.reason) == (killer, Reason.CRASHED)
    runs = Counter(line[0] for line in place.runs())
    assert runs[killer] == kills == RETRY.max_attempts
    assert max(runs[one] for one in innocents) <= 2, "the first beside the killer, the second alone"


async def test_a_childs_end_is_not_ours(place: Place) -> None:
    """multiprocessing's fork takes our signal handlers along, and `Pool` ends its children by SIGTERM."""
    process = await place.start()
    pool, child = await place.submit("th", "pool"), await place.submit("th", "child")
    assert (await place.ended(pool)).result == "[1,2]"
    assert (await place.ended(child)).result == str(-signal.SIGTERM)
    assert (await place.ended(await place.submit("th", "well"))).result == '"well"'
    assert process.returncode is None
    assert await place.probe("/readyz") == 200


async def test_functions_that_run_out_of_an_iterator_lose_no_slot(place: Place) -> None:
    place.settings = {"HEADRACE_CONCURRENCY": "2"}
    await place.start()
    lost = [await place.submit("th", "exhaust") for _ in range(4)]
    assert {(await place.ended(one)).state for one in lost} == {State.DEAD}
    assert (await place.ended(await place.submit("th", "well"))).state is State.SUCCEEDED


async def test_a_task_that_a_handler_left_behind_and_that_exits_ends_nobody(place: Place) -> None:
    process = await place.start()
    job_id = await place.submit("co", "leave a task that exits", 0.2)
    assert (await place.ended(job_id)).state is State.SUCCEEDED
    assert (await place.ended(await place.submit("co", "well"))).attempts == 1
    assert process.returncode is None
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.parametrize(("queue", "do"), [("co", "swallow"), ("th", "for ever")])
async def test_what_does_not_end_does_not_keep_the_process(place: Place, queue: str, do: str) -> None:
    process = await place.start()
    job_id = await place.submit(queue, do)
    await place.begun(job_id)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0
    depth: Any = await place.broker.depth(queue)
    assert depth.ready + (depth.unacked or 0) == 1, "it is there for somebody else"


async def test_a_run_that_is_drained_runs_again_elsewhere_and_no_attempt_is_counted(place: Place) -> None:
    process = await place.start()
    job_id = await place.submit("co", "sleep", 5.0)
    await place.begun(job_id)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0
    await place.start()
    record = await place.ended(job_id)
    assert (record.state, record.attempts) == (State.SUCCEEDED, 1)
