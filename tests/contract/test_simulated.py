"""The simulated servers keep the contracts of the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from adapters.simulated import BrokerServer, SimulatedBroker, SimulatedOutcomes, StoreServer
from core.chance import SeededChance
from core.clock import ManualClock
from core.settings import Settings
from tests.contract.broker_suite import DELIVERY_LIMIT, TOPOLOGY, BrokerContract
from tests.contract.outcomes_suite import OutcomesContract

PassTime = Callable[[float], Awaitable[None]]


class TestBroker(BrokerContract):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[SimulatedBroker]:
        chance = SeededChance(1, ManualClock())
        broker = SimulatedBroker(BrokerServer(chance), "test", TOPOLOGY, Settings(delivery_limit=DELIVERY_LIMIT), chance)
        await broker.open()
        yield broker
        await broker.close()


class TestOutcomes(OutcomesContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    async def store(self, clock: ManualClock) -> SimulatedOutcomes:
        store = SimulatedOutcomes(StoreServer(SeededChance(1, clock), clock, retention=60.0), "test", 2.0)
        await store.open()
        return store

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> PassTime:
        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        return advance

    @pytest.fixture
    def forget_old(self, pass_time: PassTime) -> PassTime:
        """A record past its retention is forgotten when it is read next."""
        return pass_time
