"""Every loop of the embedded adapters, with a fault at every await: service resumes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from core.clock import SystemClock
from core.errors import BrokerError
from core.identity import new_job_id
from core.ports import Delivery, Subscription, Verdict
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, subscribed
from tests.contract.outcomes_suite import claim
from tests.faults import KINDS, Faults, Kind, strike_everywhere

SETTINGS = Settings(store_timeout=1.0)
LOOPS = {"sqlite keeper", "sqlite subscription one", "sqlite watcher", "sqlite writer"}


class System:
    """All that a process has of one file, with a subscription that stays open through all faults."""

    def __init__(self, path: str, faults: Faults) -> None:
        self.path = Path(path)
        self.broker = SqliteBroker(path, TOPOLOGY, SETTINGS, SystemClock(), faults)
        self.store = SqliteOutcomes(path, SETTINGS, SystemClock(), faults)
        self.inbox = Inbox()
        self.subscription: Subscription
        self._numbers = 0

    async def open(self) -> None:
        await self.broker.open()
        await self.store.open()
        self.subscription = await subscribed(self.broker, "one", 5, self.inbox)

    async def close(self) -> None:
        async with asyncio.timeout(30):
            await self.subscription.close()
            await self.store.close()
            await self.broker.close()

    async def stir(self) -> None:
        """The file is deleted, so that it is opened again; messages come and go."""
        for name in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + name).unlink(missing_ok=True)
        self.broker.publish([message("stir")])

    async def works(self) -> None:
        """A message is confirmed, delivered, handed back, delivered again and acked; a claim is answered."""
        self._numbers += 1
        number = str(self._numbers)
        await self._confirmed(number)
        for settle in (self.subscription.hand_back, self.subscription.ack):
            await self._delivered(number, settle)
        assert [a.verdict for a in await self.store.claim([claim(new_job_id())])] == [Verdict.GRANTED]

    async def _confirmed(self, number: str) -> None:
        while True:
            try:
                return await self.broker.publish([message(number)])[0]
            except BrokerError:
                await asyncio.sleep(0.02)

    async def _delivered(self, number: str, settle: Callable[[Delivery], None]) -> None:
        while True:
            got, self.inbox.got = self.inbox.got, []
            for delivery in got:
                if delivery.headers["cloudEvents_id"] == number:
                    settle(delivery)
                else:
                    self.subscription.ack(delivery)
            if any(delivery.headers["cloudEvents_id"] == number for delivery in got):
                return
            await asyncio.sleep(0.01)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__ if kind else "a hang")
async def test_a_fault_at_any_await_of_any_loop_ends_no_service(tmp_path: Path, kind: Kind) -> None:
    faults = Faults()
    system = System(str(tmp_path / "headrace.db"), faults)
    await system.open()
    assert {loop.name for loop in faults.loops} == LOOPS
    missed = await strike_everywhere(faults, kind, system.stir, system.works, within=60.0)
    assert set(faults.seen) == LOOPS
    assert sum(map(len, missed.values())) <= 2, missed
    await system.close()
    assert not faults.loops
