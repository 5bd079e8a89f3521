"""Replays: each letter for itself, and as a run of its own."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from core.clock import SystemClock
from core.envelope import Envelope
from core.errors import BrokerUnavailable, NotReplayable, Unroutable
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import DeadLetter, DeliveryRecord, JobRecord, Message
from core.settings import Settings
from core.topology import Topology
from service.dead_letters import MOST_DESCRIBED, Replayed, replay, replay_many

CLOCK = SystemClock()


class Sent(SqliteBroker):
    """Confirms at once, but for those whose body names an error."""

    def __init__(self) -> None:
        super().__init__(":memory:", Topology({"a.b": ("one",)}), Settings(), CLOCK)
        self.messages: list[Message] = []
        self.errors: dict[bytes, Exception] = {}

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        futures = []
        for message in window:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if message.body in self.errors:
                future.set_exception(self.errors[message.body])
            else:
                self.messages.append(message)
                future.set_result(None)
            futures.append(future)
        return futures


class Known(SqliteOutcomes):
    """Dead letters as they are, and what a test says of deliveries."""

    def __init__(self) -> None:
        super().__init__(":memory:", Settings(), CLOCK)
        self.deliveries: tuple[DeliveryRecord, ...] = ()

    async def job(self, job_id: str) -> JobRecord | None:
        return JobRecord(job_id, "a.b", 1.0, self.deliveries)


@pytest_asyncio.fixture
async def store() -> AsyncIterator[Known]:
    store = Known()
    await store.open()
    yield store
    await store.close()


def letter(dead_id: str, body: bytes = b"{}", *, died_at: float = 1.75e9, job_type: str = "a.b", **more: Any) -> DeadLetter:
    envelope = Envelope(new_job_id(), job_type, 1.75e9, **more)
    return DeadLetter(
        dead_id, "one", Reason.PERMANENT, died_at, envelope.headers(), body, 3, job_id=envelope.job_id, job_type=job_type
    )


async def many(store: Known, broker: Sent, most: int = 1000) -> Replayed:
    return await replay_many("one", None, most, 1e9, broker, store, CLOCK)


def number(message: Message) -> int:
    return Envelope.read(message.headers, 0.0).replay


async def test_one_that_nobody_takes_stops_no_other(store: Known) -> None:
    broker = Sent()
    broker.errors[b"lost"] = Unroutable("no queue is bound for it")
    long = letter("long", b"long", died_at=3.0, job_type="x" * 300)
    stray = DeadLetter("stray", "one", Reason.MALFORMED, 2.0, {"n" * 256: "x"}, b"stray")
    await store.bury([letter("first", b"1", died_at=5.0), letter("lost", b"lost", died_at=4.0), long, stray, letter("last", b"2")])
    done = await many(store, broker)
    assert (done.replayed, done.failed, done.more) == (2, 3, False)
    assert [m.body for m in broker.messages] == [b"2", b"1"]
    said = {failure.dead_id: failure.detail for failure in done.failures}
    assert said["lost"].startswith("no queue is bound for it: no queue of this release takes it")
    assert "more than 255 bytes" in said["long"]
    assert "name of a header" in said["stray"]
    again = await many(store, broker)
    assert (again.replayed, again.failed) == (0, 3), "what was replayed is marked"


async def test_failures_are_described_up_to_a_bound_and_hide_nothing_behind_them(store: Known) -> None:
    broker = Sent()
    broker.errors[b"lost"] = Unroutable("no queue is bound for it")
    await store.bury([letter(f"lost-{n:03}", b"lost", died_at=1000.0 + n) for n in range(60)])
    await store.bury([letter(f"good-{n:03}", b"good", died_at=float(n)) for n in range(1, 6)])
    done = await many(store, broker)
    assert (done.replayed, done.failed, done.more, len(done.failures)) == (5, 60, False, MOST_DESCRIBED)
    await store.bury([letter("better", b"good", died_at=0.5)])
    bounded = await many(store, broker, most=10)
    assert (bounded.replayed, bounded.failed, bounded.more) == (0, 10, True)


async def test_a_broker_that_goes_away_ends_it_with_what_was_done(store: Known) -> None:
    broker = Sent()
    broker.errors[b"2"] = BrokerUnavailable("reconnecting")
    await store.bury([letter(f"d{n}", str(n).encode(), died_at=10.0 - n) for n in range(5)])
    done = await many(store, broker)
    assert (done.replayed, done.failed, done.more) == (2, 1, True)
    assert [(f.dead_id, f.detail) for f in done.failures] == [("d2", "reconnecting")]
    with pytest.raises(BrokerUnavailable):
        await many(store, broker)


async def test_a_letter_whose_replay_died_is_a_newer_replay(store: Known) -> None:
    broker = Sent()
    first = letter("d", crashes=3)
    await store.bury([first])
    await replay(first, broker, store, CLOCK)
    store.deliveries = (DeliveryRecord("one", State.DEAD, 1, replay=1), DeliveryRecord("two", State.DEAD, 1, replay=7))
    await replay(first, broker, store, CLOCK)
    assert [number(message) for message in broker.messages] == [1, 2]
    assert Envelope.read(broker.messages[0].headers, 0.0).crashes == 0, "its last run ended in its process"


async def test_what_died_of_a_crash_may_kill_again(store: Known) -> None:
    broker = Sent()
    killer = dataclasses.replace(letter("d", crashes=0), reason=Reason.CRASHED)
    await store.bury([killer])
    await replay(killer, broker, store, CLOCK)
    assert Envelope.read(broker.messages[0].headers, 0.0).crashes == 1


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.RETRYING, State.SUCCEEDED])
async def test_a_replay_that_is_under_way_or_has_succeeded_is_not_run_beside(store: Known, state: State) -> None:
    broker = Sent()
    store.deliveries = (DeliveryRecord("one", state, 1, replay=1),)
    await replay(letter("d"), broker, store, CLOCK)
    assert number(broker.messages[0]) == 1


async def test_what_has_no_utf8_fails_alone(store: Known) -> None:
    broker = Sent()
    stray = DeadLetter("d", "one", Reason.MALFORMED, 1.0, {"note": "\udcff"}, b"x")
    with pytest.raises(NotReplayable, match="surrogates"):
        await replay(stray, broker, store, CLOCK)
