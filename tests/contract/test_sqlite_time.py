"""Clocks that step, machines that boot, processes that die: what is held in an SQLite file, and for how long."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from adapters.sqlite.broker import SILENCE
from adapters.sqlite.liveness import this_process
from core.clock import BootTime, ManualClock, SystemClock
from core.identity import new_job_id
from core.model import State
from core.ports import Delivery, Queued, Verdict
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, publish, subscribed, until, until_depth
from tests.contract.outcomes_suite import LEASE, claim, outcome

HOUR = 3600.0


class Rebooted(ManualClock):
    """The clock after a reboot: the same wall time, or another, and a boot of its own."""

    def boot(self) -> BootTime:
        return BootTime("another boot", self.steady())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "headrace.db")


@pytest.fixture
async def store(path: str, clock: ManualClock) -> AsyncIterator[SqliteOutcomes]:
    store = SqliteOutcomes(path, Settings(retention=60), clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def broker(path: str, clock: ManualClock) -> AsyncIterator[SqliteBroker]:
    broker = SqliteBroker(path, TOPOLOGY, Settings(), clock)
    await broker.open()
    yield broker
    await broker.close()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_neither_ends_a_lease_nor_freezes_it(store: SqliteOutcomes, clock: ManualClock, step: float) -> None:
    first = claim(new_job_id())
    await store.claim([first])
    clock.step(step)
    (answer,) = await store.claim([replace(first, token="t2")])
    assert answer.verdict is Verdict.HELD
    assert answer.seconds <= LEASE
    clock.advance(LEASE + 0.1)
    assert [a.verdict for a in await store.claim([replace(first, token="t2")])] == [Verdict.CRASHED]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_changes_no_wait_for_a_retry(store: SqliteOutcomes, clock: ManualClock, step: float) -> None:
    asked = claim(new_job_id())
    await store.claim([asked])
    await store.settle([replace(outcome(asked, State.RETRYING, next_at=clock.wall() + 30), at=clock.wall())])
    clock.step(step)
    clock.advance(10)
    (answer,) = await store.claim([replace(asked, token="t2")])
    assert answer.verdict is Verdict.WAITING
    assert answer.seconds == pytest.approx(20)


@pytest.mark.parametrize(("wall", "waits"), [(0, 30.0), (-HOUR, 30.0), (10, 20.0), (HOUR, 0.0)])
async def test_after_a_reboot_no_lease_lives_and_no_wait_is_longer_than_it_was(
    store: SqliteOutcomes, path: str, clock: ManualClock, wall: float, waits: float
) -> None:
    running, retrying = claim(new_job_id()), claim(new_job_id())
    await store.claim([running, retrying])
    await store.settle([replace(outcome(retrying, State.RETRYING, next_at=clock.wall() + 30), at=clock.wall())])
    after = SqliteOutcomes(path, Settings(), Rebooted(clock.wall() + wall))
    await after.open()
    crashed, waiting = await after.claim([replace(running, token="t2"), replace(retrying, token="t2")])
    assert (crashed.verdict, waiting.verdict) == (Verdict.CRASHED, Verdict.WAITING)
    assert waiting.seconds == pytest.approx(waits)
    await after.close()


async def test_a_step_purges_nothing_that_runs(store: SqliteOutcomes, clock: ManualClock) -> None:
    running, ended = claim(new_job_id()), claim(new_job_id())
    await store.claim([running, ended])
    await store.settle([outcome(ended, State.SUCCEEDED)])
    clock.step(HOUR)
    assert await store.purge() == 1
    assert await store.job(ended.job_id) is None
    assert await store.job(running.job_id) is not None
    with sqlite3.connect(str(store._database._file.path)) as file:
        jobs, deliveries = (file.execute(f"SELECT job_id FROM {table}").fetchall() for table in ("jobs", "deliveries"))  # noqa: S608
    file.close()
    assert jobs == deliveries == [(running.job_id,)]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_neither_hastens_nor_holds_a_delayed_message(broker: SqliteBroker, clock: ManualClock, step: float) -> None:
    inbox = Inbox()
    subscription = await subscribed(broker, "one", 5, inbox)
    await publish(broker, message("late", queue="one", delay=600.0))
    clock.step(step)
    await publish(broker, message("now"))
    assert [d.headers["cloudEvents_id"] for d in await inbox.wait_for(1)] == ["now"]
    clock.advance(599)
    await publish(broker, message("again"))
    assert (await inbox.wait_for(2))[1].headers["cloudEvents_id"] == "again"
    clock.advance(1.1)
    assert (await inbox.wait_for(3))[2].headers["cloudEvents_id"] == "late"
    await subscription.close()


@pytest.mark.parametrize(("wall", "waits"), [(100, 500), (-HOUR, 600), (HOUR, 0)])
async def test_a_delay_goes_on_over_a_reboot_and_is_never_longer_than_it_was(
    broker: SqliteBroker, path: str, clock: ManualClock, wall: float, waits: float
) -> None:
    await publish(broker, message("late", queue="one", delay=600.0))
    await broker.close()
    later = Rebooted(clock.wall() + wall)
    after = SqliteBroker(path, TOPOLOGY, Settings(), later)
    await after.open()
    inbox = Inbox()
    subscription = await subscribed(after, "one", 5, inbox)
    if waits:
        later.advance(waits - 1)
        await publish(after, message("before"))
        assert (await inbox.wait_for(1))[0].headers["cloudEvents_id"] == "before"
        later.advance(1.1)
    assert (await inbox.wait_for(2 if waits else 1))[-1].headers["cloudEvents_id"] == "late"
    await subscription.close()
    await after.close()


async def test_the_messages_of_a_name_that_nobody_has_are_freed(broker: SqliteBroker, path: str) -> None:
    await publish(broker, message("x"))
    with sqlite3.connect(path) as other:
        other.execute("UPDATE messages SET state = 1, owner = 'nobody'")
    other.close()
    inbox = Inbox()
    subscription = await subscribed(broker, "one", 5, inbox)
    assert (await inbox.wait_for(1))[0].count == 1
    await subscription.close()


async def test_whoever_takes_has_a_row_among_the_owners(broker: SqliteBroker, path: str) -> None:
    inbox = Inbox()
    subscription = await subscribed(broker, "one", 1, inbox)
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM owners")
    await publish(broker, message("x"))
    (delivery,) = await inbox.wait_for(1)
    assert other.execute("SELECT count(*) FROM messages WHERE owner IN (SELECT owner FROM owners)").fetchone() == (1,)
    other.close()
    await asyncio.sleep(1.2)  # a beat
    assert len(inbox.got) == 1, "nothing is freed that is held"
    subscription.ack(delivery)
    await subscription.close()
    assert (await broker.depth("one")).ready == 0


async def test_an_owner_in_another_container_is_known_by_its_silence(broker: SqliteBroker, path: str, clock: ManualClock) -> None:
    """Its boot is ours, and its pids are not seen from here."""
    here = this_process()
    if not here.host:
        pytest.skip("this system does not name its boots")
    await publish(broker, message("x"))
    add = "INSERT OR REPLACE INTO owners (owner, host, pid, born, beat) VALUES ('far', ?, 7, '1', ?)"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(add, (here.host[:36] + "pid:[1]", 1.0))
    other.execute("UPDATE messages SET state = 1, owner = 'far'")
    seen = lambda: "far" in broker._seen  # noqa: E731 - asked for again and again
    await until(seen)
    for beat in range(3):
        clock.advance(SILENCE - 1)
        other.execute(add, (here.host[:36] + "pid:[1]", 2.0 + beat))
        await until(lambda: broker._seen["far"] == (2.0 + beat, clock.steady()))  # noqa: B023 - awaited at once
        assert (await broker.depth("one")).unacked == 1
    clock.advance(SILENCE + 1)
    await until_depth(broker, "one", 1)
    assert other.execute("SELECT * FROM owners WHERE owner = 'far'").fetchall() == []
    other.close()


# The script of a process of the file until it is killed: takes a message, claims a delivery for an hour, and prints so.
HOLDER = """
import asyncio, sys
from adapters.sqlite import SqliteBroker, SqliteOutcomes
from core.clock import SystemClock
from core.ports import Claim
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY

async def main(path, job):
    broker, store = SqliteBroker(path, TOPOLOGY, Settings(), SystemClock()), SqliteOutcomes(path, Settings(), SystemClock())
    await broker.open()
    await store.open()
    got = asyncio.Event()
    subscription = broker.subscribe("one", 1, lambda delivery: got.set())
    await subscription.resume()
    await got.wait()
    await store.claim([Claim("email", job, "user.registered", 1.75e9, 0, 1, "theirs", 3600.0)])
    print("holding", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_killed_process_held_is_free_at_once(path: str) -> None:
    """Also while it is a zombie, that is before its parent has asked for its end."""
    clock, job = SystemClock(), new_job_id()
    broker, store = SqliteBroker(path, TOPOLOGY, Settings(), clock), SqliteOutcomes(path, Settings(), clock)
    await broker.open()
    await store.open()
    await publish(broker, message("x"))
    await store.queued([Queued(job, "user.registered", ("email",), clock.wall())])
    async with asyncio.timeout(60):
        holder = _holder(path, job)
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"holding\n"
        ours = replace(claim(job, "ours"), lease=3600.0)
        assert [a.verdict for a in await store.claim([ours])] == [Verdict.HELD]
        holder.send_signal(signal.SIGKILL)
        await until(lambda: _state(holder.pid) == "Z")
        assert [a.verdict for a in await store.claim([ours])] == [Verdict.CRASHED]
        await until_depth(broker, "one", 1)
        holder.wait()
        holder.stdout.close()
    await store.close()
    await broker.close()


def _holder(path: str, job: str) -> subprocess.Popen[bytes]:
    """Not asyncio's: that would ask for the end of its child by itself."""
    return subprocess.Popen([sys.executable, "-c", HOLDER, path, job], stdout=subprocess.PIPE)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_message_id_is_never_given_out_again(broker: SqliteBroker) -> None:
    inbox = Inbox()
    subscription = await subscribed(broker, "one", 1, inbox)
    tags: list[Any] = []
    for count in range(1, 4):
        await publish(broker, message("x"))
        delivery: Delivery = (await inbox.wait_for(count))[-1]
        tags.append(delivery.tag)
        subscription.ack(delivery)
        await until_depth(broker, "one", 0)
    assert len(set(tags)) == 3
    await subscription.close()
