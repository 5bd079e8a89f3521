"""A 0.1.0 that is at work is upgraded to this release: nothing that it was trusted with is lost. `UPGRADING.md` says how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.harness import effects
from tests.chaos.harness.earlier import checkout
from tests.chaos.harness.project import assemble
from tests.chaos.harness.proxy import Loop
from tests.chaos.harness.rabbit import Rabbit
from tests.chaos.harness.setups import Setup
from tests.chaos.harness.sqlite import Sqlite
from tests.chaos.harness.system import System

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("chaos-upgrade")]
on_rabbitmq = pytest.mark.needs("rabbitmq", "redis")
_DELAY = 12.0  # seconds: longer than it takes to end the programs of 0.1.0
_LOAD = "upgrade"
Accepted = dict[int, str]  # number → job id


@pytest.fixture
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    loop = Loop()
    made: Setup = request.param(tmp_path / "servers", loop)
    await made.open()
    yield made
    await made.close()
    loop.end()


async def submit(system: System, first: int, count: int, job_type: str = "work.both", **more: Any) -> Accepted:
    assert system.client is not None
    accepted = {}
    for n in range(first, first + count):
        body = {"run": _LOAD, "n": n} | more
        async with system.client.post(f"{system.gateway.url}/v1/jobs/{job_type}", json=body) as answer:
            assert answer.status == 202, await answer.text()
            accepted[n] = (await answer.json())["job_id"]
    return accepted


async def states(system: System, accepted: Accepted) -> list[dict[str, str]]:
    assert system.client is not None
    found = []
    for job_id in accepted.values():
        status, document = await system.gateway.ask(system.client, f"/v1/jobs/{job_id}")
        assert status == 200, document
        found.append({delivery["queue"]: delivery["state"] for delivery in document["deliveries"]})
    return found


async def until_states(system: System, accepted: Accepted, wanted: set[str]) -> None:
    """Wait until every delivery is in one of the states."""
    other: list[dict[str, str]] = []
    try:
        async with asyncio.timeout(120):
            while other := [of for of in await states(system, accepted) if not set(of.values()) <= wanted]:
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{len(other)} are not {wanted}: {other[:4]}") from None


async def letters(system: System) -> list[dict[str, Any]]:
    assert system.client is not None
    status, page = await system.gateway.ask(system.client, "/v1/dead-letters?limit=200")
    assert status == 200, page
    items: list[dict[str, Any]] = page["items"]
    return items


async def work_of_every_kind(system: System) -> dict[str, Accepted]:
    """Work that has ended, is dead, waits for its retry, is in mid-run when its consumer is killed, and is in the queues."""
    work = {
        "ended": await submit(system, 0, 20),
        "dead": await submit(system, 100, 3, refuses=True),
        "delayed": await submit(system, 200, 10, later=_DELAY),
    }
    await until_states(system, work["ended"], {"succeeded"})
    await until_states(system, work["dead"], {"dead"})
    await until_states(system, work["delayed"], {"retrying"})
    work["running"] = await submit(system, 300, 5, seconds=3.0)
    await until_states(system, work["running"], {"running"})
    for consumer in system.of("consumer"):
        await consumer.kill()
    work["ready"] = await submit(system, 400, 30)
    work["scaled"] = await submit(system, 500, 10, job_type="work.scaled")
    return work


async def upgraded(setup: Setup, tmp_path: Path) -> tuple[System, dict[str, Accepted]]:
    """Programs of 0.1.0 with work, all ended; then today's on what they left."""
    old = assemble(tmp_path / "old", checkout("0.1.0", tmp_path / "0.1.0"))
    servers = await setup.servers()
    before = System(tmp_path / "system", old, servers, setup.loop)
    await before.start()
    work = await work_of_every_kind(before)
    await before.stop()
    after = System(tmp_path / "system", assemble(tmp_path / "new"), servers, setup.loop)
    setup.running = after
    await after.start()
    return after, work


def done_once(system: System, accepted: Accepted) -> bool:
    """Whether each delivery has one effect."""
    runs = effects.read(system.effects, _LOAD)
    wanted = set(accepted.values())
    counts = [sum(run.effect for run in of) for (job_id, _), of in runs.items() if job_id in wanted]
    return len(counts) == 2 * len(wanted) and set(counts) == {1}


async def judge(setup: Setup, system: System, work: dict[str, Accepted]) -> None:
    assert system.client is not None
    for kind in ("ended", "delayed", "running", "ready", "scaled"):
        await until_states(system, work[kind], {"succeeded"})
    for kind in ("ended", "delayed", "running", "ready"):
        assert done_once(system, work[kind]), kind
    assert {of["job_id"] for of in await letters(system)} == set(work["dead"].values())
    assert len(await letters(system)) == 2 * len(work["dead"])
    one = (await letters(system))[0]
    async with system.client.post(f"{system.gateway.url}/v1/dead-letters/{one['dead_id']}/replay") as answer:
        assert answer.status == 202, await answer.text()
    await until_states(system, work["dead"], {"dead"})
    await until_states(system, await submit(system, 600, 10), {"succeeded"})
    async with asyncio.timeout(30):
        while await setup.left():
            await asyncio.sleep(0.5)
    status, document = await system.gateway.ask(system.client, "/v1/scaling/gamma?limit=2000")
    assert status == 200
    assert len({record["at"] for record in document["items"]}) > 1


@pytest.mark.cell
@on_rabbitmq
@pytest.mark.parametrize("setup", [Rabbit], indirect=True)
async def test_rabbitmq_and_redis(setup: Setup, tmp_path: Path) -> None:
    system, work = await upgraded(setup, tmp_path)
    await judge(setup, system, work)


@pytest.mark.parametrize("setup", [Sqlite], indirect=True)
async def test_sqlite(setup: Setup, tmp_path: Path) -> None:
    system, work = await upgraded(setup, tmp_path)
    await judge(setup, system, work)


@on_rabbitmq
@pytest.mark.parametrize("setup", [Rabbit], indirect=True)
async def test_one_program_after_another(setup: Setup, tmp_path: Path) -> None:
    """On RabbitMQ and Redis both releases run side by side for a while, and work with each other's jobs."""
    old = assemble(tmp_path / "old", checkout("0.1.0", tmp_path / "0.1.0"))
    system = setup.running = System(tmp_path / "system", old, await setup.servers(), setup.loop)
    await system.start()
    new = assemble(tmp_path / "new")
    accepted: Accepted = {}
    for n, program in enumerate(system.programs.values()):
        accepted |= await submit(system, 100 * n, 10, later=1.0) | await submit(system, 100 * n + 50, 10, seconds=1.0)
        await program.stop()
        program.move(new)
        await program.start()
        await system.until_ready()
        accepted |= await submit(system, 1000 + 100 * n, 20)
    await until_states(system, accepted, {"succeeded"})
    assert done_once(system, accepted)
    async with asyncio.timeout(30):
        while await setup.left():
            await asyncio.sleep(0.5)
