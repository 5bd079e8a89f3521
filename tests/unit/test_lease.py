"""Leadership by a Lease, against an API server in memory, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from autoscaler.actuators.kubernetes import ApiFailure, Lease
from autoscaler.leadership import Always
from core.errors import SettingsError

Json = dict[str, Any]


class LoopClock:
    """The loop's virtual time; `skew` makes a wall clock that is wrong."""

    def __init__(self, skew: float = 0.0) -> None:
        self._skew = skew

    def wall(self) -> float:
        return 1_750_000_000.0 + self._skew + asyncio.get_running_loop().time()

    def steady(self) -> float:
        return asyncio.get_running_loop().time()


class LeaseServer:
    """One Lease with optimistic locking. late: the most seconds that a question, and its answer, take. away: nothing answers."""

    def __init__(self, late: float = 0.0, lost: float = 0.0) -> None:
        self._late, self._lost = late, lost
        self._random = random.Random(7)
        self.away = False
        self.item: Json | None = None
        self.versions = 0
        self.written = 0

    def door(self) -> Door:
        return Door(self)

    async def ask(self, verb: str, body: Json | None) -> Json:
        await self._way()
        answer = self._answer(verb, body)
        await self._way()
        return answer

    async def _way(self) -> None:
        if self.away or self._random.random() < self._lost:
            await asyncio.sleep(3600)
        await asyncio.sleep(self._random.uniform(0.0, self._late))

    def _answer(self, verb: str, body: Json | None) -> Json:
        if verb == "create" and self.item is not None:
            raise ApiFailure(409, "already exists")
        if verb != "create" and self.item is None:
            raise ApiFailure(404, "not found")
        if verb == "get":
            return dict(self.item or {})
        assert body is not None
        there = self.item or {}
        if verb == "update" and body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            raise ApiFailure(409, "modified")
        self.versions += 1
        self.item = {"metadata": {"resourceVersion": str(self.versions)}, "spec": dict(body["spec"])}
        return dict(self.item)


class Door:
    """One candidate's way to the server: what `Lease` takes for an Api. open: whether it lets anything through."""

    def __init__(self, server: LeaseServer) -> None:
        self._server = server
        self.open = True

    async def call(self, verb: str, of: object, name: str = "", body: Json | None = None, *, timeout: float) -> Json:
        try:
            async with asyncio.timeout(timeout):
                if not self.open:
                    await asyncio.sleep(3600)
                # A request that was sent arrives, also when its caller does not wait for the answer any more.
                return await asyncio.shield(asyncio.ensure_future(self._server.ask(verb, body)))
        except TimeoutError as error:
            raise ApiFailure(0, "no answer") from error


def _candidates(server: LeaseServer, count: int) -> list[tuple[Lease, Door]]:
    doors = [server.door() for _ in range(count)]
    # Wall clocks an hour apart must not matter.
    return [
        (Lease(door, "controller", identity=f"c{n}", clock=LoopClock(skew=3600.0 * n)), door)  # type: ignore[arg-type]  # what is used of it
        for n, door in enumerate(doors)
    ]


async def _first(leases: Sequence[Lease], seconds: float) -> tuple[Lease, float]:
    """The first leader, and the seconds until it leads."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(seconds):
        while True:
            for one in leases:
                if one.leading:
                    return one, asyncio.get_running_loop().time() - began
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    random.seed(11)


@pytest.mark.looptime
async def test_one_leads_and_a_clean_stop_hands_over_at_once() -> None:
    server = LeaseServer()
    (a, _), (b, _) = _candidates(server, 2)
    await a.open()
    assert (await _first([a], 1.0))[0] is a
    await b.open()
    await asyncio.sleep(60.0)
    assert a.leading
    assert not b.leading
    await a.close()
    assert not a.leading
    assert "holderIdentity" not in server.item["spec"]
    _, took = await _first([b], 3.0)
    assert took < 1.5
    await b.close()


@pytest.mark.looptime
async def test_after_a_kill_another_leads_within_15_s_and_never_while_the_first_may() -> None:
    server = LeaseServer()
    (a, door), (b, _) = _candidates(server, 2)
    await a.open()
    await _first([a], 1.0)
    await b.open()
    await asyncio.sleep(20.3)
    door.open = False  # from the server's side the same as a kill
    assert a.leading
    stopped = asyncio.get_running_loop().time()
    while a.leading:
        await asyncio.sleep(0.01)
        assert not b.leading
    alone = asyncio.get_running_loop().time()
    _, took = await _first([b], 15.0)
    assert alone + took - stopped < 12.6
    assert took >= 4.0, "what the last leader began has time to end"
    await asyncio.gather(a.close(), b.close())


@pytest.mark.looptime
async def test_a_server_that_is_away_ends_the_lead_and_its_return_gives_one_leader() -> None:
    server = LeaseServer()
    pairs = _candidates(server, 3)
    leases = [lease for lease, _ in pairs]
    for lease in leases:
        await lease.open()
    await _first(leases, 3.0)
    server.away = True
    await asyncio.sleep(6.0)
    assert not any(lease.leading for lease in leases)
    await asyncio.sleep(60.0)
    server.away = False
    await _first(leases, 15.0)
    assert sum(lease.leading for lease in leases) == 1
    await asyncio.gather(*(lease.close() for lease in leases))


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(3))
async def test_never_two_lead_while_answers_are_late_and_lost_and_candidates_come_and_go(seed: int) -> None:
    server = LeaseServer(late=0.6, lost=0.1)
    server._random.seed(seed)
    chance = random.Random(seed)
    pairs = _candidates(server, 3)
    for lease, _ in pairs:
        await lease.open()
    led = 0
    for tick in range(6_000):  # five minutes
        leading = [lease.identity for lease, _ in pairs if lease.leading]
        assert len(leading) <= 1, leading
        led += len(leading)
        if tick % 400 == 0:
            victim = chance.choice(pairs)[1]
            victim.open = not victim.open
        if tick % 1000 == 500 and server.item is not None:
            place = chance.randrange(3)
            await pairs[place][0].close()
            pairs[place] = _candidates(server, 3)[place]
            await pairs[place][0].open()
        await asyncio.sleep(0.05)
    assert led > 1000, "somebody leads most of the time that a way is open"
    for lease, _ in pairs:
        await lease.close()


@pytest.mark.looptime
async def test_a_lease_that_was_deleted_is_not_taken_while_its_holder_may_lead() -> None:
    server = LeaseServer()
    (a, door), (b, _) = _candidates(server, 2)
    await a.open()
    await _first([a], 1.0)
    await b.open()
    await asyncio.sleep(5.0)
    door.open = False
    server.item = None
    while a.leading:
        await asyncio.sleep(0.01)
        assert not b.leading
    await _first([b], 15.0)
    await asyncio.gather(a.close(), b.close())


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match="retry"):
        Lease(LeaseServer().door(), "controller", duration=5, valid=5.5)  # type: ignore[arg-type]  # what is used of it


async def test_a_single_controller_leads_always() -> None:
    lead = Always()
    await lead.open()
    assert lead.leading
    await lead.close()
