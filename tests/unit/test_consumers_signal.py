"""Consumers' own figures, asked of small real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from autoscaler.ports import Replica, Sighting
from autoscaler.signals.consumers import ConsumersSignal
from core.clock import ManualClock
from core.errors import SignalError
from core.figures import QueueFigures, from_plain, to_plain
from tests.servers.http import serving

# Long enough for a busy machine; only tests whose replica never answers wait for it.
PATIENCE = 20.0


class Consumer:
    """One process: what it tells of `email`, or any JSON, or bytes, or nothing until it is asked no more."""

    def __init__(self, name: str, **figures: Any) -> None:
        self.name = name
        self.tells: Any = to_plain({"email": QueueFigures(**figures)})
        self.status = 200
        self.ready = True
        self.leaving = False
        self.ordinal = -1
        self.url = ""
        self.asked: list[str] = []
        self.puts: list[Any] = []

    def now(self, **figures: Any) -> None:
        self.tells = to_plain({"email": QueueFigures(**figures)})

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.method == "PUT":
            self.puts.append(await request.json())
        if self.tells is None:
            await asyncio.Event().wait()
        if isinstance(self.tells, bytes):
            return web.Response(body=self.tells, status=self.status)
        return web.json_response(self.tells, status=self.status)


class Fleet:
    """A signal over consumers that come and go. known: whether anybody knows which there are."""

    def __init__(self, signal_timeout: float) -> None:
        self.consumers: list[Consumer] = []
        self.known = True
        self.clock = ManualClock()
        self.signal = ConsumersSignal(self._replicas, self.clock, signal_timeout, {"email": 25.0})

    def _replicas(self, queue: str) -> list[Replica] | None:
        if not self.known:
            return None
        return [Replica(c.name, c.ready, f"{c.url}/metrics" if c.url else "", c.leaving, c.ordinal) for c in self.consumers]

    async def look(self) -> Sighting:
        self.clock.advance(2.0)
        return (await self.signal.look(["email"]))["email"]

    async def values(self) -> dict[str, float]:
        return {name: figure.value for name, figure in (await self.look()).figures.items()}

    async def completed(self) -> float:
        return (await self.values())["completed"]


@asynccontextmanager
async def fleet(*consumers: Consumer, timeout: float = PATIENCE) -> AsyncIterator[Fleet]:
    found = Fleet(timeout)
    async with AsyncExitStack() as stack:
        for consumer in consumers:
            consumer.url = await stack.enter_async_context(serving(consumer.answer))
        found.consumers = list(consumers)
        await found.signal.open()
        stack.push_async_callback(found.signal.close)
        yield found


async def test_figures_are_summed_means_weighted_and_the_slowest_job_is_the_one_to_show() -> None:
    one = Consumer("one", in_flight=3, held=5, settled=100, busy_seconds=10.0, recent=30, wait_mean=1.0, wait_p95=2.0)
    two = Consumer("two", in_flight=1, held=2, settled=50, busy_seconds=5.0, recent=10, wait_mean=5.0, wait_p95=6.0)
    three = Consumer("three", in_flight=0, held=0)  # has done nothing of late: its zeros say nothing
    one.now(**one.tells["email"] | {"handler_mean": 0.1, "handler_p95": 0.5, "slow_seconds": 3.0, "slow_trace": "slow"})
    two.now(**two.tells["email"] | {"handler_mean": 0.3, "handler_p95": 0.4, "slow_seconds": 9.0, "slow_trace": "slowest"})
    async with fleet(one, two, three) as seen:
        sighting = await seen.look()
        values = {name: figure.value for name, figure in sighting.figures.items()}
        assert (values["in_flight"], values["unacked"]) == (4, 7)
        assert values["wait_mean"] == pytest.approx((30 * 1.0 + 10 * 5.0) / 40)
        assert values["handler_mean"] == pytest.approx((30 * 0.1 + 10 * 0.3) / 40)
        assert (values["wait_p95"], values["handler_p95"]) == (6.0, 0.5)
        assert sighting.slow_trace == "slowest"
        assert {figure.at for figure in sighting.figures.values()} == {seen.clock.steady()}, "true when it was asked"
        before = values["completed"], values["busy_seconds"]
        one.now(settled=110, busy_seconds=12.0)
        two.now(settled=55, busy_seconds=5.5)
        values = await seen.values()
        assert (values["completed"] - before[0], values["busy_seconds"] - before[1]) == (15, 2.5)
        assert "wait_mean" not in values, "nothing ended of late: unknown"
        assert one.asked == ["/figures"] * 2


async def test_a_ready_replica_that_does_not_answer_makes_what_is_held_unknown_but_not_what_is_done() -> None:
    one, mute = Consumer("one", in_flight=1, held=1, settled=10), Consumer("mute", settled=5)
    mute.tells = None
    async with fleet(one, mute, timeout=0.5) as seen:
        values = await seen.values()
        assert "completed" in values
        assert "in_flight" not in values
        assert "unacked" not in values
        mute.ready = False
        assert "unacked" not in await seen.values(), "its event loop may be blocked by a handler"
        mute.url = "http://127.0.0.1:1"  # no server listens
        assert (await seen.values())["unacked"] == 1, "one that has not begun has taken nothing"


async def test_when_none_answers_nothing_is_seen() -> None:
    refused, mute = Consumer("refused"), Consumer("mute")
    mute.tells, refused.status = None, 503
    async with fleet(refused, mute, timeout=0.5) as seen:
        with pytest.raises(SignalError, match="none of 2"):
            await seen.look()
        seen.consumers[0].url = "http://127.0.0.1:1"  # no server listens
        with pytest.raises(SignalError, match="none of 2"):
            await seen.look()


async def test_no_replicas_are_no_jobs_in_flight_but_an_unknown_workload_is_unknown() -> None:
    async with fleet() as seen:
        assert await seen.values() == {"completed": 0, "busy_seconds": 0, "in_flight": 0, "ending": 0, "unacked": 0, "takeable": 0}
        seen.known = False
        assert await seen.signal.look(["email"]) == {}


async def test_what_is_done_never_goes_back_when_replicas_restart_or_go() -> None:
    one, two = Consumer("one", settled=100, busy_seconds=9.0), Consumer("two", settled=40, busy_seconds=4.0)
    async with fleet(one, two) as seen:
        begin = await seen.completed()
        one.now(settled=3, busy_seconds=0.5)  # restarted, and has done three
        assert await seen.completed() == begin + 3
        two.now(settled=50, busy_seconds=5.0)
        assert await seen.completed() == begin + 13
        seen.consumers = [one]  # two is gone
        assert await seen.completed() == begin + 13
        two.now(settled=60, busy_seconds=1.0)  # another process of its name
        seen.consumers = [one, two]
        assert await seen.completed() == begin + 73, "what a new replica has done counts from its start"


async def test_a_restart_is_seen_by_either_counter() -> None:
    one = Consumer("one", settled=2, busy_seconds=90.0)
    async with fleet(one) as seen:
        before = await seen.values()
        one.now(settled=5, busy_seconds=1.0)  # it has caught up with the number, not with the seconds
        after = await seen.values()
        assert (after["completed"] - before["completed"], after["busy_seconds"] - before["busy_seconds"]) == (5, 1.0)


async def test_what_was_done_before_the_first_look_is_no_burst_of_now() -> None:
    one, late = Consumer("one", settled=10), Consumer("late", settled=1_000_000, busy_seconds=1e5)
    late.status = 503
    async with fleet(one, late) as seen:
        begin = await seen.completed()
        late.status = 200
        assert await seen.completed() == begin, "it was there before us; its million is of long ago"
        late.now(settled=1_000_007, busy_seconds=1e5)
        assert await seen.completed() == begin + 7


async def test_a_workload_that_vanishes_and_returns_is_no_burst() -> None:
    one = Consumer("one", settled=1000)
    async with fleet(one) as seen:
        begin = await seen.completed()
        one.now(settled=1010)
        await seen.look()
        seen.known = False
        await seen.signal.look(["email"])
        seen.known = True
        one.now(settled=1015)
        assert await seen.completed() == begin + 15


async def test_the_idlest_go_first_and_who_did_not_answer_last() -> None:
    busy, idle, mute = Consumer("busy", held=9), Consumer("idle", held=0), Consumer("mute")
    mute.tells = None
    async with fleet(busy, mute, idle, timeout=0.5) as seen:
        await seen.look()
        replicas = [Replica(name, True) for name in ("mute", "busy", "idle")] + [Replica("starting", False)]
        assert [r.name for r in seen.signal.runs.idlest(replicas)] == ["starting", "idle", "busy", "mute"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b'{"email": 7}',
        b'{"email": {"settled": "7"}}',
        b'{"email": {"settled": null}}',
        b'{"email": {"settled": [7]}}',
        b'{"email": {"settled": -7}}',
        b'{"email": {"settled": true}}',
        b'{"email": {"slow_trace": 7}}',
        b"[" * 100_000,
    ],
)
async def test_garbage_is_no_answer(garbage: bytes) -> None:
    one, two = Consumer("one", held=1, settled=5), Consumer("two")
    async with fleet(one, two) as seen:
        begin = await seen.completed()
        two.tells = garbage
        values = await seen.values()
        assert values["completed"] == begin
        assert "unacked" not in values


async def test_a_newer_replica_may_tell_more() -> None:
    one = Consumer("one")
    one.tells = {"email": {"settled": 5, "held": 2, "mood": "good"}, "other": {"settled": 9}}
    async with fleet(one) as seen:
        assert (await seen.values())["unacked"] == 2


async def test_a_replica_that_does_not_serve_the_queue_leaves_it_unknown() -> None:
    one = Consumer("one")
    one.tells = {"other": {"settled": 9}}
    async with fleet(one) as seen:
        assert "unacked" not in await seen.values()


async def test_those_may_go_whose_runs_end_within_the_drain() -> None:
    idle, short, long = Consumer("idle", lasts=0.0), Consumer("short", held=1, lasts=24.0), Consumer("long", held=1, lasts=26.0)
    starting = Consumer("starting")
    starting.url, starting.ready = "", False
    async with fleet(long, short, starting, idle) as seen:
        assert (await seen.values())["takeable"] == 3
        replicas = seen._replicas("email") or []
        assert [r.name for r in seen.signal.runs.idlest(replicas)] == ["starting", "idle", "short", "long"]
        long.ready = False
        assert (await seen.values())["takeable"] == 0, "Kubernetes would take this one first"
        long.ready = True
        short.now(held=1)
        assert "takeable" not in await seen.values(), "an older version does not tell"


async def test_one_that_fell_silent_is_not_taken() -> None:
    one, two = Consumer("one", lasts=0.0), Consumer("two", lasts=0.0)
    async with fleet(one, two, timeout=0.5) as seen:
        assert (await seen.values())["takeable"] == 2
        one.tells = None
        assert (await seen.values())["takeable"] == 1
        one.ready = False
        assert (await seen.values())["takeable"] == 0
        assert [r.name for r in seen.signal.runs.idlest(seen._replicas("email") or [])] == ["two", "one"]


async def test_consumers_are_paused_when_none_takes_anything() -> None:
    one, two = Consumer("one", paused=True), Consumer("two", paused=False)
    async with fleet(one, two) as seen:
        assert (await seen.values())["paused"] == 0
        two.now(paused=True)
        assert (await seen.values())["paused"] == 2
        one.ready = False
        assert (await seen.values())["paused"] == 2
        two.now()
        assert "paused" not in await seen.values(), "an older version does not tell"


async def test_one_that_is_leaving_is_none_that_could_go() -> None:
    busy, leaving = Consumer("busy", held=1, lasts=7000.0), Consumer("leaving", lasts=0.0)
    leaving.leaving, leaving.ready = True, False
    async with fleet(busy, leaving) as seen:
        assert (await seen.values())["takeable"] == 0
        leaving.url = "http://127.0.0.1:1"
        assert (await seen.values())["takeable"] == 0


async def test_of_a_statefulset_the_last_ones_go() -> None:
    consumers = [Consumer(f"store-{n}", lasts=7000.0 if n == 2 else 0.0, held=int(n == 2)) for n in range(5)]
    for n, consumer in enumerate(consumers):
        consumer.ordinal = n
    async with fleet(*consumers) as seen:
        assert (await seen.values())["takeable"] == 2, "store-4 and store-3"
        consumers[4].now(lasts=7000.0, held=1)
        assert (await seen.values())["takeable"] == 0


async def test_one_that_merely_drains_pauses_nobody() -> None:
    leaving, starting = Consumer("leaving", paused=True), Consumer("starting")
    leaving.leaving, leaving.ready, starting.ready, starting.url = True, False, False, ""
    async with fleet(leaving, starting) as seen:
        starting.url = ""
        assert "paused" not in await seen.values()


def test_figures_that_no_consumer_can_have_are_refused() -> None:
    for value in (1e15, float("inf"), float("nan"), -1.0, True):
        with pytest.raises(ValueError, match="figures of 'email'"):
            from_plain({"email": {"busy_seconds": value}})


async def test_a_consumer_is_cordoned_over_its_port_and_its_answer_counts_at_once() -> None:
    one, two = Consumer("one", lasts=0.0, cordoned=False), Consumer("two", lasts=0.0, cordoned=False)
    async with fleet(one, two) as seen:
        await seen.look()
        replicas = seen._replicas("email") or []
        one.now(lasts=90.0, cordoned=True, held=1)
        await seen.signal.cordon(replicas[:1], 15.0)
        assert (one.asked[-1], one.puts, two.puts) == ("/cordon", [{"seconds": 15.0}], [])
        assert [seen.signal.runs.cordoned(replica) for replica in replicas] == [True, False]
        assert [seen.signal.runs.may_go(replica, 25.0) for replica in replicas] == [False, True]


async def test_replicas_are_asked_over_their_port_to_take_nothing_ahead() -> None:
    one, two = Consumer("one", free=0, waited=4.0), Consumer("two", free=3, waited=0.0)
    async with fleet(one, two) as seen:
        await seen.look()
        replicas = seen._replicas("email") or []
        assert [seen.signal.runs.ahead(replica, "email") for replica in replicas] == [(4.0, 0), (0.0, 3)]
        one.now(free=0, waited=0.0)
        two.tells, two.status = b"not found", 404
        await seen.signal.take_nothing_ahead("email", [(replicas[0], 30.0), (replicas[1], 20.0)])
        assert (one.asked[-1], one.puts, two.puts) == (
            "/ahead",
            [{"queue": "email", "seconds": 30.0}],
            [{"queue": "email", "seconds": 20.0}],
        )
        assert [seen.signal.runs.ahead(replica, "email") for replica in replicas] == [(0.0, 0), (0.0, 3)]
        assert not seen.signal.runs.silent(replicas[1]), "one that cannot do it is no other than before"


@pytest.mark.parametrize("answer", [b"not found", b"{}x"])
async def test_one_that_refuses_to_be_cordoned_is_not_cordoned(answer: bytes) -> None:
    one = Consumer("one", lasts=0.0, cordoned=False)
    async with fleet(one) as seen:
        await seen.look()
        one.tells, one.status = answer, 404
        replicas = seen._replicas("email") or []
        await seen.signal.cordon(replicas, 15.0)
        assert seen.signal.runs.cordoned(replicas[0]) is None
        assert not seen.signal.runs.may_go(replicas[0], 25.0), "silent: it may hold anything"


async def test_what_runs_where_nothing_more_is_taken_is_told_apart() -> None:
    active, cordoned, leaving = (Consumer(name, in_flight=n, held=n, lasts=60.0) for name, n in (("a", 1), ("c", 2), ("l", 4)))
    cordoned.now(in_flight=2, held=2, lasts=60.0, cordoned=True)
    leaving.leaving, leaving.ready = True, False
    async with fleet(active, cordoned, leaving) as seen:
        values = await seen.values()
        assert (values["in_flight"], values["ending"]) == (7, 6)


async def test_those_that_can_be_cordoned_may_all_be_asked_to_go_but_the_cordoned_are_none_of_them() -> None:
    consumers = [Consumer(name, lasts=600.0, held=1, cordoned=name == "c") for name in "abc"]
    async with fleet(*consumers) as seen:
        assert (await seen.values())["takeable"] == 2
