"""Short jobs wait behind a long one in one consumer, another one is idle: a controller's look moves them, on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import BaseModel

from adapters import choose
from autoscaler.ahead import TakenAhead
from autoscaler.misplaced import PATIENCE
from autoscaler.ports import Replica, Workload
from autoscaler.runs import Runs
from consumer import Context, handler
from consumer.ahead import NothingAhead
from consumer.app import threads
from consumer.ledger import Ledger
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.chance import SystemChance
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Contract
from core.ports import Broker, Message
from telemetry.supervisor import Supervisor
from tests.servers.rabbitmq import RabbitMQServer

CLOCK = SystemClock()
SHORT = 20


class Payload(BaseModel):
    n: int


CATALOGUE = Catalogue([Contract("thing.done", Payload, ("work",), time_limit=600.0)])


class Crew:
    """Consumers with one slot each that hold up to ten jobs. ran: who has run which job, in order."""

    def __init__(self, broker: str, folder: Path) -> None:
        store = f"sqlite:///{folder}/outcomes.db"
        self.settings = ConsumerSettings(broker=broker, outcomes=store, concurrency=1, prefetch=10, connect_timeout=20)
        self.ran: list[tuple[str, int]] = []
        self.long_ends = asyncio.Event()
        self.ones: dict[str, QueueRuntime] = {}
        self.leases: dict[str, NothingAhead] = {}
        self.runs = Runs()
        self.taken = TakenAhead(self.runs, self._put, CLOCK)

    def broker(self) -> Broker:
        return choose.broker(self.settings, CATALOGUE.topology(), CLOCK, Supervisor())

    async def begin(self, name: str, stack: AsyncExitStack) -> None:
        @handler("thing.done", queue="work")
        async def work(payload: Payload, ctx: Context) -> None:
            self.ran.append((name, payload.n))
            if payload.n == 0:
                await self.long_ends.wait()

        broker, store = self.broker(), choose.outcomes(self.settings, CLOCK, Supervisor())
        assert store is not None
        ledger = Ledger(store, lease=15.0, give_up=None)
        await ledger.open()
        stack.push_async_callback(ledger.close)
        await broker.open()
        stack.push_async_callback(broker.close)
        resources = await stack.enter_async_context(Resources({}, []))
        tools = Tools(self.settings, Registry(CATALOGUE, [work]), resources, threads, CLOCK, SystemChance())
        one = self.ones[name] = QueueRuntime("work", broker, ledger, tools)
        self.leases[name] = NothingAhead(one, Supervisor())
        await one.start()
        stack.push_async_callback(one.drain, 5.0)

    async def _put(self, queue: str, replicas: Sequence[tuple[Replica, float]]) -> None:
        for replica, seconds in replicas:
            await self.leases[replica.name].put(seconds)

    async def look(self) -> int:
        """As a controller does each second; the jobs that it counts at consumers."""
        told = {name: {"work": one.figures()} for name, one in self.ones.items()}
        self.runs.hear(told, set(told))
        replicas = tuple(Replica(name, True) for name in told)
        await self.taken.settle(Workload("work", len(replicas), replicas), ["work"])
        return sum(of["work"].held for of in told.values())


@pytest.fixture(params=["sqlite", pytest.param("rabbitmq", marks=pytest.mark.needs("rabbitmq"))])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Crew:
    if request.param == "sqlite":
        return Crew(f"sqlite:///{tmp_path}/jobs.db", tmp_path)
    server: RabbitMQServer = request.getfixturevalue("rabbitmq")
    return Crew(server.vhost(), tmp_path)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


async def test_short_jobs_go_to_the_consumer_that_is_idle_while_the_long_one_runs(crew: Crew) -> None:
    async with AsyncExitStack() as stack:
        broker = crew.broker()
        await broker.open()
        stack.push_async_callback(broker.close)

        async def submit(n: int) -> None:
            envelope = Envelope(new_job_id(), "thing.done", CLOCK.wall())
            await broker.publish([Message(envelope.job_id, "thing.done", envelope.headers(), b'{"n": %d}' % n)])[0]

        await crew.begin("busy", stack)
        for n in range(SHORT + 1):
            await submit(n)
        await until(lambda: crew.ones["busy"].held == 10)
        await crew.begin("idle", stack)
        await until(lambda: len(crew.ran) == 1 + SHORT - 9)
        assert await crew.look() == 10
        assert crew.ones["busy"].held == 10, "not before they have waited for a while"
        await until(lambda: (crew.ones["busy"].figures().waited or 0.0) > PATIENCE)
        await crew.look()
        await until(lambda: len(crew.ran) == SHORT + 1)
        assert crew.ran[0] == ("busy", 0)
        assert {who for who, _ in crew.ran[1:]} == {"idle"}
        assert sorted(n for _, n in crew.ran) == list(range(SHORT + 1)), "each once"
        await until(lambda: crew.ones["idle"].held == 0)
        assert (crew.ones["busy"].held, (await broker.depth("work")).ready) == (1, 0)
        for n in range(3):  # what comes now is not taken by the one that is full
            await submit(100 + n)
        await until(lambda: len(crew.ran) == SHORT + 4)
        assert {who for who, n in crew.ran if n >= 100} == {"idle"}
        crew.long_ends.set()
        await until(lambda: crew.ones["busy"].held == 0)
        for lease in crew.leases.values():
            lease.close()
