"""When signals look, and when a decision is made: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from autoscaler.controller import Controller
from autoscaler.leadership import Always
from autoscaler.model import UNKNOWN, Figure
from autoscaler.ports import Sighting, Workload
from autoscaler.watchers import Watchers
from core.clock import SystemClock
from core.errors import SignalError

INTERVAL = 1.0


class LoopClock(SystemClock):
    """The loop's own time, which is virtual here."""

    def steady(self) -> float:
        return asyncio.get_running_loop().time()


class Looks:
    """A signal that takes some time, and notes when it was asked."""

    def __init__(self, name: str, figure: str, takes: float) -> None:
        self.name = name
        self.at: list[float] = []
        self._figure, self.takes = figure, takes
        self.broken = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        now = asyncio.get_running_loop().time()
        self.at.append(now)
        await asyncio.sleep(self.takes)
        if self.broken:
            raise SignalError("broken")
        return {queue: Sighting({self._figure: Figure(len(self.at), now)}) for queue in queues}


class Steps:
    """In the place of a workload's controller: notes when it decides, and on what."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        self.ages: list[tuple[float, float]] = []

    name = "consumer"

    async def begin(self) -> None: ...

    def failed(self, error: Exception) -> None:
        raise error

    async def step(self) -> None:
        now, seen = asyncio.get_running_loop().time(), self._watchers.observation("work", Workload("consumer", 1))
        if seen.ready_jobs is not UNKNOWN and seen.completed is not UNKNOWN:
            self.ages.append((now - seen.ready_jobs.at, now - seen.completed.at))


@asynccontextmanager
async def controlled(*signals: Looks) -> AsyncIterator[Steps]:
    clock = LoopClock()
    watchers = Watchers(signals, ["work"], clock, INTERVAL)
    steps = Steps(watchers)
    controller = Controller([steps], watchers, Always(), clock, INTERVAL)  # type: ignore[list-item]  # only begin and step are called
    await watchers.open()
    await controller.open()
    yield steps
    await controller.close()
    await watchers.close()


@pytest.mark.looptime
async def test_each_round_of_looks_is_of_one_moment_and_decided_upon_once() -> None:
    depth, consumers = Looks("depth", "ready_jobs", 0.002), Looks("consumers", "completed", 0.04)
    async with controlled(depth, consumers) as steps:
        await asyncio.sleep(60)
    assert depth.at == consumers.at, "their figures are added up"
    assert 55 <= len(depth.at) <= 66
    assert abs(len(steps.ages) - len(depth.at)) <= 1
    assert all(ready == completed == pytest.approx(0.04) for ready, completed in steps.ages)


@pytest.mark.looptime
async def test_a_slow_signal_delays_no_decision_for_long() -> None:
    depth, slow = Looks("depth", "ready_jobs", 0.002), Looks("consumers", "completed", 3.5)
    async with controlled(depth, slow) as steps:
        await asyncio.sleep(60)
    assert 55 <= len(depth.at) <= 66
    assert len(slow.at) <= 17, "not asked again while it looks"
    assert all(ready < 0.26 for ready, _ in steps.ages)


@pytest.mark.looptime
async def test_a_broker_that_answers_late_or_not_stops_neither_the_others_nor_the_decisions() -> None:
    depth, consumers = Looks("depth", "ready_jobs", 0.0), Looks("consumers", "completed", 0.01)
    async with controlled(depth, consumers) as steps:
        await asyncio.sleep(3)
        depth.broken, depth.takes = True, 1.5
        before = len(steps.ages), len(consumers.at)
        await asyncio.sleep(30)
        assert len(steps.ages) - before[0] >= 18
        assert len(consumers.at) - before[1] >= 18
