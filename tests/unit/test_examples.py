"""The job types of `examples/` on the consumer's runtime, with the embedded broker and store in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from consumer import TimeLimitExceeded
from consumer.app import threads
from consumer.ledger import Ledger
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from consumer.testing import context
from core import project
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import DeliveryRecord, Message
from examples.contracts.primes_counted import PrimesCounted
from examples.handlers import primes_counted

README = Path(__file__).parents[2] / "examples" / "README.md"


@dataclass
class World:
    """All queues of the examples, consumed."""

    catalogue: Catalogue
    broker: SqliteBroker
    store: SqliteOutcomes
    inbox: Path

    async def submit(self, job_type: str, job_id: str = "", **payload: object) -> str:
        """Without a payload the contract's first example. job_id: of a job that is published again."""
        body = orjson.dumps(payload or self.catalogue[job_type].examples[0])
        envelope = Envelope(job_id or new_job_id(), job_type, SystemClock().wall())
        await self.broker.publish([Message(envelope.job_id, job_type, envelope.headers(), body)])[0]
        return envelope.job_id

    async def comes_to(self, job_id: str, *states: State) -> dict[str, DeliveryRecord]:
        """The deliveries by queue, once each of them is in one of these states."""
        while True:
            record = await self.store.job(job_id)
            if record is not None:
                deliveries = {one.queue: one for one in record.deliveries}
                wanted = set(self.catalogue[record.job_type].queues)
                if deliveries.keys() == wanted and all(one.state in states for one in record.deliveries):
                    return deliveries
            await asyncio.sleep(0.01)

    async def ended(self, job_id: str) -> dict[str, DeliveryRecord]:
        return await self.comes_to(job_id, State.SUCCEEDED, State.DEAD)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("HEADRACE_APP", "examples")
    monkeypatch.setenv("HEADRACE_INBOX", str(tmp_path / "inbox"))
    monkeypatch.setenv("HEADRACE_INBOX_POLL", "0.05")
    monkeypatch.setenv("HEADRACE_SHOP_DATABASE", str(tmp_path / "shop.db"))
    monkeypatch.setenv("HEADRACE_SHOP_CONNECTIONS", "2")
    catalogue, clock, settings = project.catalogue(), SystemClock(), ConsumerSettings(concurrency=8)
    registry, queues = Registry.of(catalogue, *project.handlers()), catalogue.topology().queues
    assert registry.missing(queues) == []
    world = World(
        catalogue,
        SqliteBroker(":memory:", catalogue.topology(), settings, clock),
        SqliteOutcomes(":memory:", settings, clock),
        tmp_path / "inbox",
    )
    ledger = Ledger(world.store, lease=settings.claim_lease, give_up=5.0)
    async with AsyncExitStack() as opened:
        await ledger.open()
        opened.push_async_callback(ledger.close)
        await world.broker.open()
        opened.push_async_callback(world.broker.close)
        resources = await opened.enter_async_context(Resources(registry.openers, registry.needs(queues)))
        tools = Tools(settings, registry, resources, threads, clock)
        for runtime in [QueueRuntime(queue, world.broker, ledger, tools) for queue in queues]:
            await runtime.start()
            opened.push_async_callback(runtime.drain, 2.0)
        yield world


async def test_each_example_settles_as_it_is_meant(world: World) -> None:
    await asyncio.gather(
        _a_job_waits_for_its_file(world),
        _a_broken_table_is_dead_at_once(world),
        _primes_are_counted(world),
        _a_job_for_two_queues_has_two_results(world),
        _stock_is_moved_once_a_job(world),
    )


async def _a_job_waits_for_its_file(world: World) -> None:
    job_id = await world.submit("file.awaited")
    waiting = (await world.comes_to(job_id, State.RETRYING))["files"]
    assert waiting.failure is not None
    assert "is not there yet" in waiting.failure.message
    (world.inbox / "orders.csv").write_text("amount\n3.50\n")
    done = (await world.ended(job_id))["files"]
    assert (done.state, done.result) == (State.SUCCEEDED, '{"bytes":12}')
    assert done.attempts > 1


async def _a_broken_table_is_dead_at_once(world: World) -> None:
    (world.inbox / "good.csv").write_text("amount,note\n3.50,a\n0.25,b\n")
    (world.inbox / "bad.csv").write_text("amount\n3.50\nmany\n")
    good = (await world.ended(await world.submit("table.imported", name="good.csv")))["tables"]
    assert (good.state, good.result) == (State.SUCCEEDED, '{"total":"3.75"}')
    bad = (await world.ended(await world.submit("table.imported", name="bad.csv")))["tables"]
    assert (bad.state, bad.attempts) == (State.DEAD, 1)
    (letter,) = (await world.store.dead_letters()).items
    assert letter.reason is Reason.PERMANENT
    assert letter.failure is not None
    assert letter.failure.message == "bad.csv, line 3: no number in the column `amount`"


async def _primes_are_counted(world: World) -> None:
    done = (await world.ended(await world.submit("primes.counted", below=2_500_000)))["sums"]
    assert (done.state, done.result) == (State.SUCCEEDED, '{"primes":183072}')


async def _a_job_for_two_queues_has_two_results(world: World) -> None:
    done = await world.ended(await world.submit("member.joined"))
    assert {queue: one.result for queue, one in done.items()} == {
        "badges": '{"badge":"000042 ADA LOVELACE"}',
        "greetings": '{"greeting":"Welcome, Ada Lovelace."}',
    }


async def _stock_is_moved_once_a_job(world: World) -> None:
    moves = [await world.submit("stock.moved", article="LAMP-7", pieces=1) for _ in range(20)]
    for job_id in moves:
        assert (await world.ended(job_id))["stock"].state is State.SUCCEEDED
    await world.submit("stock.moved", moves[0], article="LAMP-7", pieces=1)  # the same job: it does not run again
    last = (await world.ended(await world.submit("stock.moved", article="LAMP-7", pieces=-5)))["stock"]
    assert last.result == '{"pieces":15}'


def test_a_long_job_tells_its_progress_and_ends_at_its_limit() -> None:
    ctx = context("sums")
    assert primes_counted.count_primes(PrimesCounted(below=2_500_000), ctx) == {"primes": 183_072}
    assert [note["looked_at"] for note in ctx.notes] == [1_000_002, 2_000_002, 2_500_000]
    ctx.overdue = True
    with pytest.raises(TimeLimitExceeded):
        primes_counted.count_primes(PrimesCounted(below=2_500_000), ctx)


@pytest.mark.parametrize(("below", "primes"), [(1, 0), (2, 0), (3, 1), (4, 2), (100, 25)])
def test_the_primes_at_the_edges(below: int, primes: int) -> None:
    assert primes_counted.count_primes(PrimesCounted(below=below), context("sums")) == {"primes": primes}


def test_the_readme_has_each_job_type_and_its_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_APP", "examples")
    rows = re.findall(r"^\| `([a-z.]+)` \| ([^|]+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: tuple(re.findall(r"`([a-z]+)`", queues)) for name, queues in rows}
    assert told == {contract.name: contract.queues for contract in project.catalogue()}
