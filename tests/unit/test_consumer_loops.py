"""Every long-lived task of the consumer program: whatever fails at whichever of its awaits, it begins again, and jobs are done. In
virtual time, with all its parts but RabbitMQ and Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
import uvicorn

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from consumer import Context, handler
from consumer.app import Consumer
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Contract, State
from core.ports import Message
from telemetry.supervisor import MOST_FAILURES, Supervisor
from tests.unit.consuming import Payload
from tests.unit.stepping import FAULTS, Stepped

pytestmark = pytest.mark.looptime

CONTRACT = Contract("thing.done", Payload, ("work",))
# The loops of a consumer; a new one must be named here, and is then tested.
LOOPS = {
    "claims",
    "event loop",
    "liveness",
    "outcome store",
    "probes",
    "progress",
    "purge",
    "sqlite keeper",
    "sqlite subscription work",
    "sqlite subscription work.dead",
}
_PLACES = range(3)


@handler("thing.done", queue="work")
async def done(payload: Payload, ctx: Context) -> int:
    ctx.progress(payload.n)
    await asyncio.sleep(2.0)
    return payload.n


class Program:
    def __init__(self, supervisor: Supervisor) -> None:
        settings = ConsumerSettings(
            broker="memory:",
            outcomes="memory:",
            probe_port=0,
            claim_lease=3.0,
            stall_seconds=6.0,
        )
        catalogue = Catalogue([CONTRACT])
        self.consumer = Consumer(settings, Registry(catalogue, [done]), ["work"], supervisor)
        self.broker = SqliteBroker(":memory:", catalogue.topology(), settings, SystemClock())
        self.store = SqliteOutcomes(":memory:", settings, SystemClock())

    async def job(self) -> State | None:
        """One job's state after its time."""
        envelope = Envelope(new_job_id(), "thing.done", SystemClock().wall())
        await self.broker.publish([Message(envelope.job_id, "thing.done", envelope.headers(), b'{"n": 1}')])[0]
        for _ in range(100):
            await asyncio.sleep(1.0)
            job = await self.store.job(envelope.job_id)
            if job and job.deliveries[0].state.final:
                return job.deliveries[0].state
        return None


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[Program]:
    program = Program(supervisor)
    await program.broker.open()
    await program.store.open()
    run = asyncio.create_task(program.consumer.run())
    await asyncio.sleep(1.0)
    try:
        # The tracebacks of all loops, written for a terminal with their variables, take ten times as long as the rest of the test.
        with structlog.testing.capture_logs():
            yield program
    finally:
        program.consumer.stop()
        assert await asyncio.wait_for(run, 200.0) in (0, 1)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
        await program.broker.close()
        await program.store.close()


async def test_these_are_the_programs_loops() -> None:
    async with running(owner := Supervisor()):
        assert {one.name for one in owner.loops} == LOOPS


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_loops_that_fail_at_an_await_begin_again_and_jobs_are_done(fault: str, place: int) -> None:
    """All at once: each loop gets the fault at that await of its first run."""
    faulty: dict[str, Stepped] = {}
    began_again: set[str] = set()

    def around(name: str, run: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        if name in faulty:
            began_again.add(name)
            return run
        faulty[name] = Stepped(run, place, FAULTS[fault])
        return _await(faulty[name])

    async with running(owner := Supervisor(around=around)) as program, asyncio.timeout(2000.0):
        while not (faulty.keys() == LOOPS and all(one.reached for one in faulty.values())):
            await asyncio.sleep(1.0)
        if fault == "a timeout":
            await asyncio.sleep(10.0)  # some awaits are bounded: to them it is the end of their wait, and no fault
        else:
            while began_again != LOOPS:
                await asyncio.sleep(1.0)
        assert await program.job() is State.SUCCEEDED
        while any(one.wrong for one in owner.loops):  # until its next sign of life
            await asyncio.sleep(1.0)
        assert all(one.running for one in owner.loops)
        assert owner.wrong == []


async def _await(stepped: Stepped) -> None:
    await stepped


async def test_a_loop_that_cannot_be_kept_running_ends_the_program_with_a_code() -> None:
    def around(of: str, run: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        return _await(Stepped(run, 0, Exception("each time"))) if of == "claims" else run

    program = Program(Supervisor(around=around))
    await program.broker.open()
    assert await asyncio.wait_for(program.consumer.run(), 60.0 * MOST_FAILURES) == 1
    await program.broker.close()


def test_the_servers_own_loop_shows_that_it_lives() -> None:
    """on_tick is what the probes' server is watched by; it is uvicorn's."""
    assert hasattr(uvicorn.Server, "on_tick")
