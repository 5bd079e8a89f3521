"""Submitting in windows: jobs that arrive together are published together, and no answer comes before the broker's confirm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from core.clock import SystemClock
from core.errors import BadRecord, BrokerUnavailable, PublishTimeout, StoreUnavailable, WindowFull
from core.identity import new_job_id
from core.model import State
from core.ports import Message, Queued
from core.settings import Settings
from core.topology import Topology
from service.settings import GatewaySettings
from service.submit import MOST_IN_WINDOW, MOST_RECORDING, Submitter

TOPOLOGY = Topology({"a.b": ("one",)})


class HeldBroker(SqliteBroker):
    """Confirms only on request."""

    def __init__(self) -> None:
        super().__init__(":memory:", TOPOLOGY, Settings(), SystemClock())
        self.windows: list[list[asyncio.Future[None]]] = []

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        futures: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in window]
        self.windows.append(futures)
        return futures

    def confirm(self) -> None:
        for future in self.windows.pop(0):
            future.set_result(None)


class SlowStore(SqliteOutcomes):
    """Records only on request, or fails."""

    def __init__(self) -> None:
        super().__init__(":memory:", Settings(), SystemClock())
        self.go = asyncio.Event()
        self.away = False
        self.commands = 0

    async def queued(self, records: Sequence[Queued]) -> None:
        self.commands += 1
        if self.away:
            raise StoreUnavailable("taken away")
        await self.go.wait()
        await super().queued(records)


class BrokenBroker(SqliteBroker):
    """Its encoder meets what it cannot encode."""

    def __init__(self) -> None:
        super().__init__(":memory:", TOPOLOGY, Settings(), SystemClock())

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        raise ValueError("a short string has at most 255 bytes")


class PickyStore(SlowStore):
    """Refuses one record, or raises an unexpected error."""

    refused = ""
    raises: BaseException | None = None

    async def queued(self, records: Sequence[Queued]) -> None:
        if self.raises is not None:
            raise self.raises
        if any(record.job_id == self.refused for record in records):
            raise BadRecord("a record of another type stands there")
        await super().queued(records)


def job(body: bytes = b"{}") -> tuple[Message, Queued]:
    job_id = new_job_id()
    return Message(job_id, "a.b", {}, body), Queued(job_id, "a.b", ("one",), 1.0)


def submitter(broker: SqliteBroker, store: SqliteOutcomes | None, **settings: Any) -> Submitter:
    return Submitter(broker, store, GatewaySettings(**settings), SystemClock())


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_arrives_in_one_turn_is_one_window_and_one_record() -> None:
    broker, store = HeldBroker(), SlowStore()
    await store.open()
    store.go.set()
    submit = submitter(broker, store)
    futures = [submit.submit(*job()) for _ in range(10)]
    await turn()
    assert ([len(w) for w in broker.windows], store.commands) == ([10], 1)
    assert not any(f.done() for f in futures), "no answer before the confirm"
    broker.confirm()
    await asyncio.gather(*futures)
    await store.close()


async def test_a_full_window_goes_at_once() -> None:
    broker = HeldBroker()
    submit = submitter(broker, None)
    futures = [submit.submit(*job()) for _ in range(MOST_IN_WINDOW + 3)]
    await turn()
    assert [len(w) for w in broker.windows] == [MOST_IN_WINDOW, 3]
    broker.confirm()
    broker.confirm()
    await asyncio.gather(*futures)


async def test_too_many_unconfirmed_are_refused() -> None:
    broker = HeldBroker()
    submit = submitter(broker, None, max_unconfirmed=2)
    futures = [submit.submit(*job()) for _ in range(2)]
    with pytest.raises(WindowFull, match="2 jobs wait"):
        submit.submit(*job())
    await turn()
    broker.confirm()
    await asyncio.gather(*futures)
    submit.submit(*job())


async def test_too_many_bytes_that_wait_are_refused() -> None:
    broker = HeldBroker()
    submit = submitter(broker, None, max_unconfirmed_bytes=100)
    bodies = [b"x" * 60, b"x" * 60]
    futures = [submit.submit(*job(body)) for body in bodies]
    with pytest.raises(WindowFull, match="120 bytes of jobs wait"):
        submit.submit(*job())
    await turn()
    broker.confirm()
    await asyncio.gather(*futures)
    submit.submit(*job())


async def test_an_adapter_that_raises_fails_its_window_and_holds_nobody() -> None:
    broker = BrokenBroker()
    submit = submitter(broker, None, max_unconfirmed=1, max_unconfirmed_bytes=1)
    for _ in range(3):  # what is counted as unconfirmed is given back
        with pytest.raises(BrokerUnavailable, match="nothing was sent"):
            await asyncio.wait_for(submit.submit(*job()), 5.0)


async def test_one_record_that_the_store_cannot_take_costs_no_other() -> None:
    broker, store = HeldBroker(), PickyStore()
    await store.open()
    store.go.set()
    submit = submitter(broker, store)
    jobs = [job() for _ in range(9)]
    store.refused = jobs[5][1].job_id
    futures = [submit.submit(*one) for one in jobs]
    await turn()
    broker.confirm()
    await asyncio.gather(*futures)
    await submit.drain(5.0)
    found = [await store.job(record.job_id) is not None for _, record in jobs]
    assert found == [n != 5 for n in range(9)]
    await store.close()


@pytest.mark.parametrize("error", [ValueError("a mistake"), asyncio.CancelledError()])
async def test_whatever_the_store_raises_the_answer_is_not_kept(error: BaseException) -> None:
    broker, store = HeldBroker(), PickyStore()
    store.raises = error
    submit = submitter(broker, store, record_wait=5)
    future = submit.submit(*job())
    await turn()
    broker.confirm()
    await asyncio.wait_for(future, 4)


@pytest.mark.looptime
async def test_the_answer_waits_for_the_record_only_so_long() -> None:
    broker, store = HeldBroker(), SlowStore()
    await store.open()
    submit = submitter(broker, store, record_wait=0.05)
    future = submit.submit(*job())
    await turn()
    broker.confirm()
    await asyncio.sleep(0.04)
    assert not future.done()
    await asyncio.sleep(0.02)
    assert future.done()
    store.go.set()
    await submit.drain(1.0)
    await store.close()


async def test_a_store_that_hangs_costs_a_bounded_number_of_records() -> None:
    broker, store = HeldBroker(), SlowStore()
    await store.open()
    submit = submitter(broker, store, record_wait=0)
    for _ in range(MOST_RECORDING + 3):
        submit.submit(*job())
        await turn()
    assert store.commands == MOST_RECORDING
    store.go.set()
    await submit.drain(1.0)
    await store.close()


async def test_a_store_that_is_away_does_not_refuse_a_job() -> None:
    broker, store = HeldBroker(), SlowStore()
    store.away = True
    submit = submitter(broker, store)
    future = submit.submit(*job())
    await turn()
    broker.confirm()
    await asyncio.wait_for(future, 1)


async def test_what_was_not_confirmed_reads_so_and_moves_forward() -> None:
    broker, store = HeldBroker(), SlowStore()
    await store.open()
    store.go.set()
    submit = submitter(broker, store)
    message, record = job()
    future = submit.submit(message, record)
    await turn()
    broker.windows.pop()[0].set_exception(PublishTimeout("no confirm"))
    with pytest.raises(PublishTimeout):
        await future
    await turn()
    found = await store.job(record.job_id)
    assert found is not None
    assert found.deliveries[0].state is State.UNCONFIRMED
    again = submit.submit(message, record)
    await turn()
    broker.confirm()
    await again
    found = await store.job(record.job_id)
    assert found is not None
    assert found.deliveries[0].state is State.QUEUED
    await store.close()


async def test_a_cancelled_confirm_is_not_an_acceptance() -> None:
    broker = HeldBroker()
    submit = submitter(broker, None)
    future = submit.submit(*job())
    await turn()
    broker.windows.pop()[0].cancel()
    with pytest.raises(BrokerUnavailable):
        await future
