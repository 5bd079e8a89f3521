"""`python -m consumer --once`, as a process on real brokers: one delivery, then the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters import choose
from autoscaler.actuators.processes import Processes
from core import project
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import State
from core.ports import Broker, Message, OutcomeStore
from core.settings import Settings
from telemetry.supervisor import Supervisor
from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer

BODIES = {
    "order.settled": b'{"order_id": 1, "user_id": 2, "amount": "10.00", "currency": "EUR"}',
    "user.registered": b'{"user_id": 1, "email": "a@example.com", "name": "A"}',
}


class Place:
    """A broker and a store, which a consumer process has too."""

    def __init__(self, broker: str, outcomes: str, folder: Path) -> None:
        self.environment = os.environ | {
            "HEADRACE_BROKER": broker,
            "HEADRACE_OUTCOMES": outcomes,
            "HEADRACE_DATABASE": f"sqlite:///{folder}/points.db",
            "HEADRACE_PROBE_PORT": "0",
            "HEADRACE_ONCE_SECONDS": "2",
        }
        settings = Settings(broker=broker, outcomes=outcomes, connect_timeout=20)
        self.broker: Broker = choose.broker(settings, project.catalogue().topology(), SystemClock(), Supervisor())
        store = choose.outcomes(settings, SystemClock(), Supervisor())
        assert store is not None
        self.store: OutcomeStore = store

    async def submit(self, job_type: str = "order.settled") -> str:
        envelope = Envelope(new_job_id(), job_type, SystemClock().wall())
        await self.broker.publish([Message(envelope.job_id, job_type, envelope.headers(), BODIES[job_type])])[0]
        return envelope.job_id

    async def begin(self, queues: str = "payouts") -> asyncio.subprocess.Process:
        arguments = ("-m", "consumer", "--queues", queues, "--once")
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, env=self.environment)

    async def run(self, queues: str = "payouts") -> int:
        process = await self.begin(queues)
        return await asyncio.wait_for(process.wait(), 60)

    async def succeeded(self, jobs: list[str]) -> int:
        """Deliveries of these that have."""
        records = [await self.store.job(job) for job in jobs]
        return sum(delivery.state is State.SUCCEEDED for record in records if record for delivery in record.deliveries)


@pytest.fixture(params=["sqlite", pytest.param("rabbitmq", marks=pytest.mark.needs("rabbitmq"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    file = f"sqlite:///{tmp_path}/headrace.db"
    if request.param == "sqlite":
        return Place(file, file, tmp_path)
    server: RabbitMQServer = request.getfixturevalue("rabbitmq")
    return Place(server.vhost(), file, tmp_path)


async def test_each_process_settles_one_delivery_and_one_that_gets_none_ends(place: Place) -> None:
    await place.broker.open()
    await place.store.open()
    jobs = [await place.submit() for _ in range(3)]
    for done in (1, 2, 3, 3):
        assert await place.run() == 0
        assert await place.succeeded(jobs) == done
        assert (await place.broker.depth("payouts")).ready == 3 - done
    await place.store.close()
    await place.broker.close()


async def test_of_several_queues_one_delivery_is_run_and_the_others_stay(place: Place) -> None:
    await place.broker.open()
    await place.store.open()
    jobs = [await place.submit("user.registered") for _ in range(2)]  # to two queues
    for done in (1, 2):
        assert await place.run("email,points") == 0
        depths = [(await place.broker.depth(queue)).ready for queue in ("email", "points")]
        assert sum(depths) == 4 - done
        # A mail that cannot be sent is tried again: it is settled for now, too.
        assert await place.succeeded(jobs) <= done
    await place.store.close()
    await place.broker.close()


async def test_sigterm_ends_one_that_waits(place: Place) -> None:
    place.environment["HEADRACE_ONCE_SECONDS"] = "600"
    port = place.environment["HEADRACE_PROBE_PORT"] = str(free_port())
    await place.broker.open()
    process = await place.begin()
    async with asyncio.timeout(30), aiohttp.ClientSession() as client:
        while not await _ready(client, port):
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    await place.broker.close()


async def _ready(client: aiohttp.ClientSession, port: str) -> bool:
    try:
        async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False  # not listening yet


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.05)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    file = f"sqlite:///{tmp_path}/headrace.db"
    place = Place(file, file, tmp_path)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return place


async def test_processes_for_one_delivery_are_started_end_and_are_not_started_again(embedded: Place, tmp_path: Path) -> None:
    await embedded.broker.open()
    await embedded.store.open()
    jobs = [await embedded.submit() for _ in range(3)]
    drains = {"job/payouts": 5.0}
    actuator = Processes({"job/payouts": ["payouts"]}, tmp_path / "consumers", drains=drains, clock=SystemClock())
    await actuator.open()
    await actuator.scale("job/payouts", 3, [], "three jobs")
    seen = actuator.seen("job/payouts")
    assert seen is not None
    assert (seen.asked, seen.ends_itself) == (3, True)
    await actuator.scale("job/payouts", 0, [], "fewer: none is stopped")
    assert _asked(actuator) == 3
    await until(lambda: _asked(actuator) == 0)
    assert await embedded.succeeded(jobs) == 3
    assert list((tmp_path / "consumers").glob("*.json")) == []
    await actuator.close()
    await embedded.store.close()
    await embedded.broker.close()


async def test_one_that_fails_is_not_started_again_and_a_new_one_waits(
    embedded: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_ONCE_SECONDS", "many")
    drains = {"job/payouts": 5.0}
    actuator = Processes({"job/payouts": ["payouts"]}, tmp_path / "consumers", drains=drains, clock=SystemClock())
    await actuator.open()
    await actuator.scale("job/payouts", 3, [], "three jobs")
    await until(lambda: _asked(actuator) == 0)
    seen = actuator.seen("job/payouts")
    assert seen is not None
    assert seen.unschedulable.startswith("the last 3 ended with an error")
    await actuator.scale("job/payouts", 1, [], "at once")
    assert _asked(actuator) == 0
    await actuator.close()


def _asked(actuator: Processes) -> int:
    seen = actuator.seen("job/payouts")
    assert seen is not None
    return seen.asked
