"""A consumer that is asked to take nothing ahead hands back what waits for a slot; and whom a controller asks for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from autoscaler.ahead import TakenAhead
from autoscaler.misplaced import AGAIN, JITTER, LEASE, PATIENCE, misplaced
from autoscaler.model import Pause
from autoscaler.ports import Replica, Workload
from autoscaler.runs import Runs
from consumer.ahead import NothingAhead, asked_of, by_queue
from consumer.context import Context
from consumer.cordon import Cordon
from consumer.liveness import Liveness
from core.clock import ManualClock
from core.errors import SettingsError
from core.figures import QueueFigures
from telemetry.supervisor import Supervisor
from tests.unit.consuming import Payload, World, consuming

# The consumer.


class Gates:
    """A handler that waits until the gate of its number is opened, or all are."""

    def __init__(self) -> None:
        self.gates: dict[int, asyncio.Event] = {}
        self.all = asyncio.Event()

    def __getitem__(self, number: int) -> asyncio.Event:
        return self.gates.setdefault(number, asyncio.Event())

    async def __call__(self, payload: Payload, _: Context) -> str:
        waits = [asyncio.ensure_future(gate.wait()) for gate in (self[payload.n], self.all)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return "done"


@contextlib.asynccontextmanager
async def taking(act: Any = lambda *_: "done", **settings: Any) -> AsyncIterator[tuple[World, NothingAhead]]:
    given = {"concurrency": 2, "prefetch": 5, "time_limit": 1000.0} | settings
    async with consuming(act, **given) as world:
        lease = NothingAhead(world.runtime, Supervisor())
        try:
            yield world, lease
        finally:
            lease.close()


async def numbered(world: World, *numbers: int) -> list[str]:
    return [await world.submit(b'{"n": %d}' % n) for n in numbers]


async def filled(world: World) -> list[str]:
    """Eight jobs, of which it holds all that it may."""
    jobs = await numbered(world, *range(8))
    await world.until(lambda: world.runtime.held == 5)
    return jobs


@pytest.mark.looptime(idle_step=0.05)
async def test_what_waits_for_a_slot_goes_back_and_no_more_is_taken_than_runs() -> None:
    gates = Gates()
    async with taking(gates) as (world, lease):
        jobs = await filled(world)
        await asyncio.sleep(3.0)
        told = world.runtime.figures()
        assert (told.in_flight, told.held, told.free) == (2, 5, 0)
        assert told.waited is not None
        assert told.waited >= 3.0
        await lease.put(60.0)
        told = world.runtime.figures()
        assert (told.in_flight, told.held, told.waited, told.cordoned) == (2, 2, 0.0, False)
        assert (await world.broker.depth("work")).ready == 6
        assert world.broker.backs == 3
        gates[0].set()
        await world.ended(jobs[0])
        await world.until(lambda: len(world.runs) == 3)
        assert world.runtime.held == 2
        gates.all.set()
        for job in jobs:
            await world.ended(job)
        assert world.broker.backs == 3, "none goes back again"
        assert len(world.runs) == 8


@pytest.mark.looptime(idle_step=0.05)
async def test_the_lease_ends_by_itself_and_then_it_takes_ahead_again() -> None:
    gates = Gates()
    async with taking(gates) as (world, lease):
        await filled(world)
        for _ in range(2):
            await lease.put(20.0)
            await asyncio.sleep(15.0)
            assert (lease.stands, world.runtime.held) == (True, 2)
        await world.until(lambda: not lease.stands, within=10.0)
        await world.until(lambda: world.runtime.held == 5)
        await lease.put(20.0)
        await lease.put(0.0)
        await world.until(lambda: world.runtime.held == 5)
        gates.all.set()


@pytest.mark.looptime(idle_step=0.05)
async def test_with_a_prefetch_of_what_can_run_nothing_changes() -> None:
    gates = Gates()
    async with taking(gates, prefetch=0) as (world, lease):  # once the concurrency, by the time limit
        await numbered(world, *range(4))
        await world.until(lambda: world.runtime.held == 2)
        await lease.put(60.0)
        assert (world.runtime.held, world.broker.backs, world.runtime.subscribed) == (2, 0, True)
        gates.all.set()


@pytest.mark.looptime(idle_step=0.05)
async def test_the_cordon_goes_before_it_and_neither_ends_the_other() -> None:
    gates = Gates()
    async with taking(gates) as (world, lease):
        cordon = Cordon([world.runtime], Supervisor())
        await filled(world)
        await cordon.put(250.0)
        await lease.put(100.0)
        assert not world.runtime.subscribed
        assert world.runtime.figures().free == 0, "a slot of a cordoned one is nobody's"
        gates.all.set()
        await world.until(lambda: world.runtime.held == 0)
        await lease.put(0.0)
        await asyncio.sleep(5.0)
        assert world.runtime.held == 0
        await lease.put(100.0)
        gates.all.clear()
        gates.gates.clear()
        await cordon.put(0.0)
        await world.until(lambda: world.runtime.held == 2)
        await asyncio.sleep(5.0)
        assert world.runtime.held == 2, "the cordon's end brings no more than can run"
        gates.all.set()
        cordon.close()


@pytest.mark.looptime(idle_step=0.05)
async def test_one_that_holds_all_it_may_is_alive_and_drains() -> None:
    gates = Gates()
    async with taking(gates) as (world, lease):
        await filled(world)
        await lease.put(200.0)
        liveness = Liveness([world.runtime], 30.0)
        for _ in range(4):
            await liveness.look(world.runtime)
        assert liveness.stalled == []
        drain = asyncio.ensure_future(world.runtime.drain(20.0))
        await asyncio.sleep(1.0)
        lease.close()
        await lease.put(0.0)
        gates.all.set()
        await drain
        assert (world.runtime.held, (await world.broker.depth("work")).ready) == (0, 6)


@pytest.mark.looptime(idle_step=0.05)
async def test_free_slots_are_those_in_which_something_would_begin() -> None:
    gates = Gates()
    async with taking(gates) as (world, _):
        await world.until(lambda: world.runtime.figures().free == 2)
        await numbered(world, 1)
        await world.until(lambda: world.runtime.figures().free == 1)
        assert world.runtime.figures().waited == 0.0
        gates.all.set()


class _Of:
    queue = "email"

    async def take_what_runs(self) -> None: ...

    async def take_ahead(self) -> None: ...


@pytest.mark.parametrize(
    "body",
    [None, [], "email", {}, {"seconds": 3}, {"queue": "points", "seconds": 3}, {"queue": ["email"], "seconds": 3}]
    + [{"queue": "email", "seconds": seconds} for seconds in (None, "3", True, -1, 301)],
)
def test_any_other_body_is_refused_with_what_is_allowed(body: Any) -> None:
    with pytest.raises(SettingsError, match="one of email and N from 0 to 300"):
        asked_of(body, by_queue([_Of()], Supervisor()))


def test_a_body_names_the_queue_and_says_for_how_long() -> None:
    leases = by_queue([_Of()], Supervisor())
    assert asked_of({"queue": "email", "seconds": 30}, leases) == (leases["email"], 30.0)


# The controller.

FREE = QueueFigures(free=3, waited=0.0)
FULL = QueueFigures(free=0, waited=0.0, in_flight=4)
WAITS = QueueFigures(free=0, waited=PATIENCE + 1.0, in_flight=4, held=7)


class Crew:
    """Replicas of one workload by what they tell of the queue `q`; None: they do not answer."""

    def __init__(self, **told: QueueFigures | None) -> None:
        self.clock, self.runs = ManualClock(), Runs()
        self.told = told
        self.asked: list[list[str]] = []
        self.seconds: list[float] = []
        self.more: dict[str, Any] = {}
        self.unready: set[str] = set()
        self.taken = TakenAhead(self.runs, self.put, self.clock)

    async def put(self, queue: str, replicas: Sequence[tuple[Replica, float]]) -> None:
        assert queue == "q"
        self.asked.append([replica.name for replica, _ in replicas])
        self.seconds += [seconds for _, seconds in replicas]

    async def round(self, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        self.runs.hear({name: {"q": of} for name, of in self.told.items() if of is not None}, set(self.told))
        replicas = tuple(Replica(name, name not in self.unready) for name in self.told)
        await self.taken.settle(Workload("work", len(replicas), replicas, self.clock.steady(), **self.more), ["q", "other"])


async def test_all_are_asked_where_jobs_wait_in_one_and_another_has_a_free_slot() -> None:
    crew = Crew(a=WAITS, b=FREE, c=FULL, silent=None, old=QueueFigures(), cordoned=QueueFigures(free=0, waited=9.0, cordoned=True))
    await crew.round()
    assert crew.asked == [["a", "b", "c"]]
    assert all(LEASE * (1 - JITTER) <= seconds <= LEASE * (1 + JITTER) for seconds in crew.seconds)
    assert len(set(crew.seconds)) == 3, "not all at the same moment"


@pytest.mark.parametrize(
    "crew",
    [
        Crew(a=WAITS, b=FULL),
        Crew(a=WAITS),
        Crew(a=FULL, b=FREE),
        Crew(a=QueueFigures(free=0, waited=PATIENCE), b=FREE),
        Crew(a=WAITS, b=QueueFigures(free=3, waited=0.0, cordoned=True)),
    ],
    ids=["no free slot", "alone", "nothing waits", "not for long", "the free one is cordoned"],
)
async def test_nobody_is_asked_in_vain(crew: Crew) -> None:
    await crew.round()
    assert crew.asked == []


async def test_one_that_is_not_ready_has_no_free_slot_for_anybody() -> None:
    crew = Crew(a=WAITS, b=FREE)
    crew.unready = {"b"}
    await crew.round()
    assert crew.asked == []
    crew.unready = set()
    await crew.round()
    assert crew.asked == [["a", "b"]]


async def test_those_that_do_not_do_it_are_not_asked_in_every_round() -> None:
    crew = Crew(a=WAITS, b=FREE)
    for _ in range(60):
        await crew.round()
    assert 60 / AGAIN - 1 <= len(crew.asked) <= 60 / AGAIN


@pytest.mark.parametrize("more", [{"ends_itself": True}, {"pause": Pause.ALL}], ids=["one delivery each", "an operator forbids it"])
async def test_where_nothing_may_be_done_nothing_is(more: dict[str, Any]) -> None:
    crew = Crew(a=WAITS, b=FREE)
    crew.more = more
    await crew.round()
    assert crew.asked == []


async def test_a_dry_run_asks_nobody() -> None:
    crew = Crew(a=WAITS, b=FREE)
    crew.taken = TakenAhead(crew.runs, None, crew.clock)
    await crew.round()
    assert crew.asked == []


def test_it_takes_both() -> None:
    assert misplaced([(PATIENCE + 0.1, 0), (0.0, 1)])
    assert not misplaced([(PATIENCE + 0.1, 0), (0.0, 0)])
    assert not misplaced([(PATIENCE, 0), (0.0, 1)])
    assert not misplaced([])
