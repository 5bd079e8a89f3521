"""A cordoned consumer takes nothing, hands back what has not begun, goes on with what runs, and no lease lasts for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consumer.context import Context
from consumer.cordon import Cordon, seconds_of
from consumer.leased import MOST_SECONDS
from consumer.liveness import Liveness
from core.envelope import Envelope
from core.errors import SettingsError
from core.identity import new_job_id
from telemetry.supervisor import Supervisor
from tests.unit.consuming import Payload, World, consuming

pytestmark = pytest.mark.looptime(idle_step=0.05)


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, _: Payload, __: Context) -> str:
        await self.open.wait()
        return "done"


@contextlib.asynccontextmanager
async def cordoning(act: Any = lambda *_: "done", **settings: Any) -> AsyncIterator[tuple[World, Cordon]]:
    async with consuming(act, **settings) as world:
        cordon = Cordon([world.runtime], Supervisor())
        yield world, cordon
        cordon.close()


async def store_goes_away(world: World) -> None:
    """Seen as soon as somebody needs it."""
    world.store.away = True
    envelope = Envelope(new_job_id(), "thing.done", world.clock.wall())
    asked = asyncio.ensure_future(world.ledger.claim(world.tools.claim("work", envelope), lambda: None))
    await world.until(lambda: not world.ledger.up)
    asked.cancel()


async def test_what_runs_goes_on_what_waits_goes_back_and_nothing_more_is_taken() -> None:
    gate = Gate()
    async with cordoning(gate, concurrency=2, prefetch=4, time_limit=1000.0) as (world, cordon):
        jobs = [await world.submit() for _ in range(6)]
        await world.until(lambda: world.runtime.held == 4)
        await cordon.put(60.0)
        figures = world.runtime.figures()
        assert (figures.cordoned, figures.in_flight, figures.held) == (True, 2, 2)
        assert world.broker.backs == 2
        assert (await world.broker.depth("work")).ready == 4
        gate.open.set()
        await world.ended(jobs[0])
        await world.until(lambda: world.runtime.held == 0)
        await asyncio.sleep(5.0)
        assert len(world.runs) == 2, "a free slot takes nothing"
        assert world.runtime.figures().lasts == 0.0


async def test_it_takes_deliveries_again_when_it_is_brought_back() -> None:
    async with cordoning() as (world, cordon):
        await cordon.put(60.0)
        job = await world.submit()
        await asyncio.sleep(5.0)
        assert world.runs == []
        await cordon.put(0.0)
        assert (await world.ended(job)).result == '"done"'
        assert world.runtime.figures().cordoned is False


async def test_a_controller_that_dies_leaves_no_consumer_cordoned() -> None:
    async with cordoning() as (world, cordon):
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(3):
            await cordon.put(15.0)
            await asyncio.sleep(10.0)
        job = await world.submit()
        await world.ended(job)
        assert 35.0 <= loop.time() - began < 40.0, "15 s after the last renewal"
        assert not cordon.stands


@pytest.mark.parametrize("order", ["lifted", "set"])
async def test_the_last_word_counts_however_they_overlap(order: str) -> None:
    async with cordoning() as (world, cordon):
        seconds = (60.0, 0.0) if order == "lifted" else (0.0, 60.0)
        await asyncio.gather(*(cordon.put(value) for value in (*seconds, *seconds)))
        assert cordon.stands is (order == "set")
        assert world.runtime.subscribed is (order == "lifted")


async def test_the_store_that_comes_back_ends_no_cordon_and_one_that_is_away_outlasts_it() -> None:
    async with cordoning() as (world, cordon):
        await cordon.put(250.0)
        await store_goes_away(world)
        world.store.away = False
        await world.until(lambda: world.ledger.up)
        assert not world.runtime.subscribed
        await store_goes_away(world)
        await cordon.put(0.0)
        assert not world.runtime.subscribed, "nothing could be begun"
        world.store.away = False
        await world.ended(await world.submit())


async def test_one_that_is_cordoned_before_it_has_started_takes_nothing() -> None:
    async with cordoning() as (world, cordon):
        await cordon.put(60.0)
        await world.runtime.start()
        assert not world.runtime.subscribed


async def test_one_that_drains_is_brought_back_by_nobody() -> None:
    async with cordoning() as (world, cordon):
        await cordon.put(60.0)
        cordon.close()
        drain = asyncio.ensure_future(world.runtime.drain(1.0))
        await cordon.put(0.0)
        await world.runtime.uncordon()
        await drain
        assert not world.runtime.subscribed


async def test_a_cordoned_consumer_is_alive_although_messages_are_ready() -> None:
    async with cordoning() as (world, cordon):
        await cordon.put(200.0)
        await world.submit()
        liveness = Liveness([world.runtime], 30.0)
        for _ in range(6):
            await liveness.look(world.runtime)
        assert liveness.stalled == []


@pytest.mark.parametrize(
    "body",
    [None, [], 15, "15", {}, {"seconds": "15"}, {"seconds": True}, {"seconds": -1}, {"seconds": MOST_SECONDS + 1}, {"second": 1}],
)
def test_any_other_body_is_refused_with_what_is_allowed(body: Any) -> None:
    with pytest.raises(SettingsError, match="with N from 0 to 300"):
        seconds_of(body)


@pytest.mark.parametrize("seconds", [0, 15, 0.5, MOST_SECONDS])
def test_a_body_says_for_how_long(seconds: float) -> None:
    assert seconds_of({"seconds": seconds}) == seconds
