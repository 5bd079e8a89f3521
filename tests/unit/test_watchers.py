"""The figures of a queue when several signals report it, and go silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from autoscaler.model import UNKNOWN, Observation
from autoscaler.ports import Replica, Workload
from autoscaler.watchers import Watchers, ages
from tests.unit.controlled import INTERVAL, LoopClock, Seer, blind

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def watching(*signals: Seer) -> AsyncIterator[Watchers]:
    watchers = Watchers(signals, ["jobs"], LoopClock(), INTERVAL)
    await watchers.open()
    try:
        await asyncio.sleep(0.01)
        yield watchers
    finally:
        await watchers.close()


def seen(watchers: Watchers) -> Observation:
    replicas = (Replica("one", True), Replica("two", False))
    return watchers.observation("jobs", Workload("work", 3, replicas, at=asyncio.get_running_loop().time()))


def value(watchers: Watchers, name: str) -> float | None:
    figure = getattr(seen(watchers), name)
    return None if figure is UNKNOWN else figure.value


async def test_what_nobody_tells_is_unknown() -> None:
    async with watching(Seer(ready_jobs=5)) as watchers:
        found = seen(watchers)
        assert (found.asked, found.running.value, found.ready.value) == (3, 2, 1)
        assert found.ready_jobs.value == 5
        assert all(getattr(found, name) is UNKNOWN for name in ("unacked", "published", "completed", "in_flight", "oldest_age"))
        assert set(ages(found, asyncio.get_running_loop().time())) == {"running", "ready", "ready_jobs"}


async def test_why_replicas_are_not_ready_is_the_actuators_word() -> None:
    async with watching(Seer(ready_jobs=5)) as watchers:
        assert watchers.observation("jobs", Workload("work", 3, unready="1 pod: ErrImagePull")).unready == "1 pod: ErrImagePull"


async def test_the_earlier_signal_is_preferred_until_it_goes_silent() -> None:
    fresh, statistics = Seer("fresh", unacked=1), Seer("statistics", age=5.0, unacked=9)
    async with watching(fresh, statistics) as watchers:
        await asyncio.sleep(10)
        assert value(watchers, "unacked") == 1
        fresh.fails = blind()
        await asyncio.sleep(4)
        assert value(watchers, "unacked") == 1, "a look that failed does not blind at once"
        await asyncio.sleep(10)
        assert value(watchers, "unacked") == 9
        fresh.fails = None
        await asyncio.sleep(2 * INTERVAL)
        assert value(watchers, "unacked") == 1


async def test_a_figure_of_a_look_that_failed_or_hangs_is_told_apart() -> None:
    first, second = Seer("first", ready_jobs=5), Seer("second", unacked=1)
    async with watching(first, second) as watchers:
        assert seen(watchers).silent_at is None
        first.fails = blind()
        await asyncio.sleep(2 * INTERVAL)
        ready_jobs = seen(watchers).ready_jobs
        assert ready_jobs is not UNKNOWN
        assert seen(watchers).silent_at == ready_jobs.at
        first.fails = None
        await asyncio.sleep(2 * INTERVAL)
        assert seen(watchers).silent_at is None
        second.hangs = True
        await asyncio.sleep(3 * INTERVAL)
        unacked = seen(watchers).unacked
        assert unacked is not UNKNOWN
        assert seen(watchers).silent_at == unacked.at


async def test_a_signal_that_fails_and_tells_nothing_that_is_used_makes_nothing_doubtful() -> None:
    first, other = Seer("first", unacked=1), Seer("other", unacked=2)
    async with watching(first, other) as watchers:
        other.fails = blind()
        await asyncio.sleep(2 * INTERVAL)
        assert seen(watchers).silent_at is None


async def test_a_counter_whose_first_source_goes_away_is_not_replaced_by_the_zero_point_of_another() -> None:
    first, second = Seer("first", completed=1000.0), Seer("second", completed=5.0)
    async with watching(first, second) as watchers:
        assert value(watchers, "completed") == 1000
        first.fails = blind()
        second.shared["completed"] = 8.0
        await asyncio.sleep(60)
        found = seen(watchers).completed
        assert found is not UNKNOWN
        assert found.value == 1000
        assert found.at < asyncio.get_running_loop().time() - 50, "it only grows old"
        first.fails = None
        first.shared["completed"] = 1100.0
        await asyncio.sleep(2 * INTERVAL)
        assert value(watchers, "completed") == 1100


async def test_a_counter_belongs_to_whoever_told_it_first() -> None:
    late, prompt = Seer("late"), Seer("prompt", published=7.0)
    async with watching(late, prompt) as watchers:
        assert value(watchers, "published") == 7
        late.shared["published"] = 1_000_000.0
        await asyncio.sleep(2 * INTERVAL)
        assert value(watchers, "published") == 7


async def test_a_signal_that_hangs_delays_no_other() -> None:
    stuck, well = Seer("stuck", unacked=1), Seer("well", ready_jobs=2)
    stuck.hangs = True
    async with watching(stuck, well) as watchers:
        await asyncio.sleep(20)
        assert well.looks >= 9
        assert value(watchers, "ready_jobs") == 2
        assert value(watchers, "unacked") is None


async def test_a_queue_that_is_no_longer_told_of_grows_old() -> None:
    seer = Seer(ready_jobs=5)
    async with watching(seer) as watchers:
        seer.shared = {}
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(30)
        found = seen(watchers).ready_jobs
        assert found is UNKNOWN or found.at <= begin
