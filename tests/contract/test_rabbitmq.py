"""RabbitMQ, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.rabbitmq import RabbitMQ
from core.clock import SystemClock
from core.settings import Settings
from tests.contract.broker_suite import DELIVERY_LIMIT, TOPOLOGY, BrokerContract
from tests.servers.rabbitmq import RabbitMQServer


class TestBroker(BrokerContract):
    @pytest.fixture
    async def broker(self, rabbitmq: RabbitMQServer) -> AsyncIterator[RabbitMQ]:
        settings = Settings(delivery_limit=DELIVERY_LIMIT, connect_timeout=20)
        broker = RabbitMQ(rabbitmq.vhost(), TOPOLOGY, settings, SystemClock())
        await broker.open()
        yield broker
        await broker.close()
