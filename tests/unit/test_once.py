"""A process for one delivery takes one, whatever else waits, and ends when it is settled; or when none comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.simulated import BrokerServer, SimulatedBroker, SimulatedOutcomes, StoreServer
from consumer import handler
from consumer.app import threads as real_threads
from consumer.context import Context
from consumer.ledger import Ledger
from consumer.liveness import Liveness
from consumer.once import Once
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.chance import SeededChance
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Contract, State
from core.ports import Message
from core.retry import RetryPolicy
from telemetry.supervisor import Supervisor
from tests.unit.consuming import Payload, World, consuming
from tests.unit.controlled import LoopClock

pytestmark = pytest.mark.looptime(idle_step=0.05)


class Ending:
    """The callback for the end of the process."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self) -> None:
        self.at = asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def taking_one(act: Any = lambda *_: "done", wait: float = 10.0, **more: Any) -> AsyncIterator[tuple[World, Once, Ending]]:
    owner, end = Supervisor(), Ending()
    once = Once(owner)
    async with consuming(act, once=once, **more) as world:
        owner.start("one delivery", lambda beat: once.watch(beat, wait, end), patience=None)
        yield world, once, end
        await owner.close()


async def test_the_second_delivery_is_never_asked_for_however_short_the_first_one_is() -> None:
    async with taking_one() as (world, _, end):
        jobs = [await world.submit() for _ in range(3)]
        await world.until(lambda: end.at is not None)
        await asyncio.sleep(5.0)
        states = [record.state if (record := await world.record(job)) else None for job in jobs]
        assert states == [State.SUCCEEDED, None, None]
        assert (world.runtime.arrived, world.broker.backs) == (1, 0)
        assert (await world.broker.depth("work")).ready == 2


async def test_it_ends_when_none_comes_and_what_comes_later_is_left_to_others() -> None:
    async with taking_one(wait=7.0) as (world, _, end):
        began = asyncio.get_running_loop().time()
        await world.until(lambda: end.at is not None)
        assert end.at is not None
        assert end.at - began == pytest.approx(7.0, abs=0.5)
        job = await world.submit()
        await asyncio.sleep(5.0)
        assert world.runs == []
        assert await world.record(job) is None
        assert (await world.broker.depth("work")).ready + world.broker.backs >= 1


async def test_it_does_not_end_while_it_could_get_none() -> None:
    """It is not subscribed, as without a broker."""
    async with taking_one(wait=3.0) as (world, _, end):
        await world.runtime.cordon()
        await asyncio.sleep(20.0)
        assert end.at is None
        await world.runtime.uncordon()
        await world.until(lambda: end.at is not None)


async def test_a_retry_is_put_off_and_a_dead_letter_recorded_and_it_ends() -> None:
    def unlucky(_: Payload, __: Context) -> None:
        raise OSError("not now")

    async with taking_one(unlucky) as (world, _, end):
        job = await world.submit()
        await world.until(lambda: end.at is not None)
        record = await world.record(job)
        assert record is not None
        assert (record.state, len(world.runs)) == (State.RETRYING, 1)
    async with taking_one() as (world, _, end):
        await world.submit(b"no json")
        await world.until(lambda: end.at is not None)
        assert [letter.body for letter in await world.dead()] == [b"no json"]


async def test_it_stays_ready_and_alive_while_its_job_runs() -> None:
    gate = asyncio.Event()

    async def act(_: Payload, __: Context) -> str:
        await gate.wait()
        return "done"

    async with taking_one(act, time_limit=36_000.0) as (world, _, end):
        job = await world.submit()
        await world.until(lambda: world.runs)
        await world.submit()
        liveness = Liveness([world.runtime], stall_seconds=3.0)
        for _ in range(10):
            await liveness.look(world.runtime)
            await asyncio.sleep(1.0)
        assert liveness.stalled == []
        assert (world.runtime.subscribed, world.runtime.paused, world.runtime.figures().cordoned) == (False, True, False)
        await world.runtime.cordon()
        await world.runtime.uncordon()
        await asyncio.sleep(600.0)
        assert (end.at, len(world.runs)) == (None, 1), "a cordon that ends does not make it take another"
        gate.set()
        assert (await world.ended(job)).state is State.SUCCEEDED
        await world.until(lambda: end.at is not None)
        assert len(world.runs) == 1


async def test_its_last_figures_are_kept_for_who_has_asked_before() -> None:
    async with taking_one() as (world, once, end):
        once.figures_were_read()
        job = await world.submit()
        await world.ended(job)
        await asyncio.sleep(1.0)
        assert end.at is None
        assert world.runtime.figures().settled == 1
        once.figures_were_read()
        await asyncio.sleep(0.1)
        assert end.at is not None
    async with taking_one() as (world, once, end):
        once.figures_were_read()
        job = await world.submit()
        await world.ended(job)
        await world.until(lambda: end.at is not None, within=4.0)


async def test_a_drain_hands_its_delivery_back() -> None:
    async def act(_: Payload, __: Context) -> str:
        await asyncio.sleep(3600.0)
        return "done"

    async with taking_one(act, time_limit=36_000.0) as (world, _, end):
        await world.submit()
        await world.until(lambda: world.runs)
        await world.runtime.drain(5.0)
        await world.until(lambda: end.at is not None)
        assert world.broker.backs == 1


@pytest.mark.parametrize("seed", range(10))
async def test_of_several_queues_one_delivery_is_run_on_simulated_servers(seed: int) -> None:
    """Both queues may have sent one before the subscriptions end: the other goes back, and at most once."""
    clock, owner, end, runs = LoopClock(), Supervisor(), Ending(), []

    def act(queue: str) -> Any:
        @handler("thing.done", queue=queue)
        async def run(payload, ctx: Context) -> None:  # type: ignore[no-untyped-def]  # the payload is the test's
            runs.append(ctx)

        return run

    queues = ("a", "b")
    catalogue = Catalogue([Contract("thing.done", Payload, queues, RetryPolicy(), time_limit=1.0)])
    settings = ConsumerSettings(claim_lease=4.0).for_one_delivery()
    chance = SeededChance(seed, clock)
    broker = SimulatedBroker(BrokerServer(chance), "test", catalogue.topology(), settings, chance, owner)
    ledger = Ledger(SimulatedOutcomes(StoreServer(chance, clock, retention=600.0), "test", 2.0), lease=4.0, give_up=None)
    await broker.open()
    await ledger.open()
    async with Resources({}, []) as resources:
        once = Once(owner)
        tools = Tools(
            settings, Registry(catalogue, [act(queue) for queue in queues]), resources, real_threads, clock, chance, once=once
        )
        runtimes = [QueueRuntime(queue, broker, ledger, tools) for queue in queues]
        for _ in range(3):
            envelope = Envelope(new_job_id(), "thing.done", clock.wall())
            await broker.publish([Message(envelope.job_id, "thing.done", envelope.headers(), b'{"n": 1}')])[0]
        for runtime in runtimes:
            await runtime.start()
        owner.start("one delivery", lambda beat: once.watch(beat, 10.0, end), patience=None)
        await asyncio.sleep(60.0)
        assert end.at is not None
        assert end.at < 30.0
        assert len(runs) == 1
        assert sum([(await broker.depth(queue)).ready for queue in queues]) == 5
        assert sum(runtime.arrived for runtime in runtimes) <= 2
        for runtime in runtimes:
            await runtime.drain(2.0)
    await broker.close()
    await ledger.close()
    await owner.close()


async def test_a_delivery_whose_last_process_died_is_run_too() -> None:
    async with taking_one() as (world, _, end):
        job = await world.submit(crashes=1, attempt=2)
        await world.until(lambda: end.at is not None)
        assert (await world.ended(job)).state is State.SUCCEEDED


async def test_a_delivery_that_came_before_its_store_went_away_waits_for_it() -> None:
    async with taking_one() as (world, _, end):
        world.store.refuses = {"claim"}
        job = await world.submit()
        await world.until(lambda: not world.ledger.up)
        await asyncio.sleep(30.0)
        assert (world.runs, end.at) == ([], None)
        world.store.refuses = set()
        assert (await world.ended(job)).state is State.SUCCEEDED
        await world.until(lambda: end.at is not None)
        assert len(world.runs) == 1
