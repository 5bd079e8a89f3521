"""Redis with what can be wrong with it: it is unavailable for all, or one record is bad and the others are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from adapters.redis import RedisJournal, RedisOutcomes
from adapters.redis.faults import FAILURES, RIGHTS, fault
from core.clock import SystemClock
from core.coalesce import Coalescer
from core.errors import BadRecord, StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import Claim, Failure, Queued
from core.settings import Settings
from tests.contract.journal_suite import SETTINGS, record
from tests.contract.outcomes_suite import AT, claim, letter, outcome
from tests.servers import free_port
from tests.servers.redis import RedisCluster, RedisServer, until

QUICK = Settings(store_timeout=0.5)


@asynccontextmanager
async def opened(url: str, settings: Settings = QUICK) -> AsyncIterator[RedisOutcomes]:
    store = RedisOutcomes(url, settings, SystemClock())
    yield store
    await store.close()


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisOutcomes]:
    redis_server.ask("FLUSHALL")
    async with opened(redis_server.url) as one:
        yield one


@pytest.fixture
async def own_store(own_redis: RedisServer) -> AsyncIterator[RedisOutcomes]:
    async with opened(own_redis.url) as one:
        yield one


async def away(store: RedisOutcomes, remedy: str) -> None:
    """Pings and claims alike say so, and how to mend it."""
    asked: list[Callable[[], Awaitable[object]]] = [store.ping, lambda: store.claim([claim(new_job_id())])]
    for ask in asked:
        with pytest.raises(StoreUnavailable, match=remedy):
            await asyncio.wait_for(ask(), 20)


async def back(store: RedisOutcomes) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await store.ping()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    assert [a.verdict for a in await store.claim([claim(new_job_id())])] == ["granted"]


async def test_stalled_or_killed_is_unavailable_until_it_is_back(own_redis: RedisServer, own_store: RedisOutcomes) -> None:
    store = own_store
    await store.open()
    asked = claim(new_job_id())
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.claim([asked]), 5)
    own_redis.cont()
    assert [a.verdict for a in await store.claim([asked])] == ["granted"], "the first claim may have been written: same token"
    await asyncio.to_thread(own_redis.kill)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await asyncio.to_thread(own_redis.start)
    await back(store)
    assert await store.renew([asked]) == [True]


async def test_a_full_server_is_away(own_redis: RedisServer, own_store: RedisOutcomes) -> None:
    own_redis.ask("CONFIG", "SET", "maxmemory", "1")
    await away(own_store, "memory is full. Raise maxmemory")
    own_redis.ask("CONFIG", "SET", "maxmemory", "0")
    await back(own_store)


async def test_a_replica_is_away(own_redis: RedisServer, own_store: RedisOutcomes) -> None:
    own_redis.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    await away(own_store, "it is a replica. HEADRACE_OUTCOMES must lead to the primary")
    own_redis.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    await away(own_store, "it is a replica that has lost its primary")
    own_redis.ask("REPLICAOF", "NO", "ONE")
    await back(own_store)


async def test_one_with_too_few_replicas_is_away(own_redis: RedisServer, own_store: RedisOutcomes) -> None:
    own_redis.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    await away(own_store, "too few replicas")
    own_redis.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    await back(own_store)


@pytest.mark.needs("redis")
async def test_one_that_cannot_write_its_file_is_away(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "--save", "3600 1")
    server.start()
    try:
        async with opened(server.url) as store:
            await back(store)
            (server.folder / "dump.rdb").mkdir()  # in the place of the file
            server.ask("BGSAVE")
            until(lambda: "rdb_last_bgsave_status:err" in info(server, "persistence"), "it could not save")
            await away(store, "it cannot write its file, and refuses writes")
            (server.folder / "dump.rdb").rmdir()
            server.ask("BGSAVE")
            await back(store)
    finally:
        server.kill()


@pytest.mark.needs("redis")
async def test_one_that_loads_its_file_is_away_until_it_has(tmp_path: Path) -> None:
    slowly = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")  # 3 s for 3,000 keys
    server = RedisServer(tmp_path / "redis", "--save", "3600 1", *slowly)
    server.start()
    try:
        async with aioredis.Redis.from_url(server.url) as client:
            await client.mset({f"k{n}": n for n in range(3000)})
            await client.save()
        server.kill()
        server.start()
        async with opened(server.url, Settings(store_timeout=5)) as store:
            with pytest.raises(StoreUnavailable, match="it is loading its file"):
                await store.ping()
            await back(store)
    finally:
        server.kill()


async def test_a_server_that_answers_ping_and_nothing_else_is_away(own_redis: RedisServer, own_store: RedisOutcomes) -> None:
    own_redis.ask("ACL", "SETUSER", "admin", "on", ">word", "~*", "+@all")
    own_redis.ask("ACL", "SETUSER", "default", "-@all", "+ping", "+hello", "+client")
    await away(own_store, "its ACL refuses the user")
    async with aioredis.Redis(port=own_redis.port, username="admin", password="word") as admin:
        await admin.execute_command("ACL", "SETUSER", "default", "+@all", "-evalsha", "-eval")  # type: ignore[no-untyped-call]  # redis-py has no types there
        await away(own_store, "its ACL refuses the user")
        await admin.execute_command("ACL", "SETUSER", "default", "+evalsha", "+eval")  # type: ignore[no-untyped-call]  # as above
    await back(own_store)


async def test_two_hundred_look_up_jobs_at_once_while_others_are_recorded(store: RedisOutcomes) -> None:
    jobs = [new_job_id() for _ in range(200)]
    recorded = [store.queued([Queued(job, "user.registered", ("email",), AT)]) for job in jobs]
    looked_up = [store.job(job) for job in jobs]
    progress = [store.progress(claim(job), "1") for job in jobs]
    await asyncio.gather(*recorded, *looked_up, *progress)
    assert None not in await asyncio.gather(*(store.job(job) for job in jobs))


async def test_those_who_wait_for_a_stalled_server_wait_for_a_bounded_time(
    own_redis: RedisServer, own_store: RedisOutcomes
) -> None:
    await own_store.open()
    own_redis.stop()
    try:
        async with asyncio.timeout(20):  # a bound: one turn and one answer take a second
            answers = await asyncio.gather(*(own_store.job(new_job_id()) for _ in range(200)), return_exceptions=True)
    finally:
        own_redis.cont()
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    await back(own_store)


# Values in the place of the job: another kind of value, a line of unknown form, a state of a later version.
DAMAGE = [("SET", "{}", "x"), ("HSET", "{}", "type", "t", "at", "0", "c:email", "?"), ("HSET", "{}", "c:email", "new|0|1|t|0|0")]


@pytest.mark.parametrize("damage", DAMAGE, ids=["wrong type", "no line of ours", "unknown state"])
async def test_a_bad_record_is_that_item_s_fault(store: RedisOutcomes, redis_server: RedisServer, damage: tuple[str, ...]) -> None:
    bad, good = claim(new_job_id()), [claim(new_job_id()) for _ in range(10)]
    redis_server.ask(*(part.format(f"headrace:job:{bad.job_id}") for part in damage))
    claims: Coalescer[Claim, object] = Coalescer(store.claim)
    answers = await asyncio.gather(*(claims.ask(c) for c in [*good[:5], bad, *good[5:]]), return_exceptions=True)
    assert isinstance(answers[5], BadRecord)
    assert {getattr(a, "verdict", None) for a in answers[:5] + answers[6:]} == {"granted"}
    queued = Queued(bad.job_id, "user.registered", ("email",), AT)
    for ask in (store.renew([bad, good[0]]), store.settle([outcome(good[0], State.SUCCEEDED), outcome(bad, State.SUCCEEDED)])):
        with pytest.raises(BadRecord):
            await ask
    for one in (store.queued([queued]), store.unconfirmed([queued]), store.progress(bad, "1"), store.job(bad.job_id)):
        with pytest.raises(BadRecord):
            await one
    record = await store.job(good[0].job_id)
    assert record is not None
    assert record.deliveries[0].state is State.RUNNING, "of a batch nothing is done"
    assert await store.settle([outcome(c, State.SUCCEEDED) for c in good]) == [True] * 10


@pytest.mark.parametrize("how", ["failure", "letter", "result", "number"])
async def test_what_cannot_be_encoded_is_that_item_s_fault(store: RedisOutcomes, how: str) -> None:
    good = [claim(new_job_id()) for _ in range(10)]
    bad = claim(new_job_id(), attempt=10**400 if how == "number" else 1)
    dead = letter("d1", job_id=bad.job_id, failure=Failure("E", "\udcff"))
    poison = {
        "failure": outcome(bad, State.RETRYING, failure=Failure("ValueError", "no such file: \udcff"), next_at=AT),
        "letter": outcome(bad, State.DEAD, dead=dead),
        "result": outcome(bad, State.SUCCEEDED, result='"\udcff"'),
        "number": outcome(bad, State.RETRYING, next_at=float("nan")),
    }[how]
    await store.claim(good)
    settle = Coalescer(store.settle)
    outcomes = [*(outcome(c, State.SUCCEEDED) for c in good[:5]), poison, *(outcome(c, State.SUCCEEDED) for c in good[5:])]
    answers = await asyncio.gather(*(settle.ask(o) for o in outcomes), return_exceptions=True)
    assert isinstance(answers[5], BadRecord)
    assert answers[:5] + answers[6:] == [True] * 10
    with pytest.raises(BadRecord):
        await store.bury([letter("good"), replace(dead, dead_id="d2")])
    assert not (await store.dead_letters()).items
    for text in ("queue", "job_id"):
        wrong: dict[str, Any] = {text: "\udcff"}
        with pytest.raises(BadRecord):
            await store.claim([replace(good[0], **wrong)])


@pytest.mark.parametrize("next_at", [-5.0, 0.0, 1e15, float("inf")])
async def test_a_time_that_is_far_away_leaves_a_record_that_can_be_read(store: RedisOutcomes, next_at: float) -> None:
    asked = claim(new_job_id())
    assert await store.settle([outcome(asked, State.RETRYING, next_at=next_at)]) == [True]
    (answer,) = await store.claim([replace(asked, token="t2")])
    assert answer.verdict == "waiting"
    assert (answer.seconds > 0) is (next_at > 0)


async def test_a_bad_letter_is_left_out_and_can_be_dropped(store: RedisOutcomes, redis_server: RedisServer) -> None:
    await store.bury([letter(f"d{n}", died_at=AT + n) for n in range(4)])
    redis_server.ask("DEL", "headrace:dead:d1")
    redis_server.ask("SET", "headrace:dead:d1", "x")
    redis_server.ask("HSET", "headrace:dead:d2", "headers", "{")
    assert [item.dead_id for item in (await store.dead_letters()).items] == ["d3", "d0"]
    for bad in ("d1", "d2"):
        with pytest.raises(BadRecord):
            await store.dead_letter(bad)
        assert await store.drop(bad)
        assert await store.dead_letter(bad) is None
    assert [item.dead_id for item in (await store.dead_letters(queue="email")).items] == ["d3", "d0"]
    for name in ("queue:email", "type:user.registered"):
        assert await store.dead_letter(name) is None, "a list is no letter"
        assert not await store.drop(name)
    assert len((await store.dead_letters(queue="email")).items) == 2


async def test_a_damaged_list_hides_no_letter_and_stops_no_outcome(store: RedisOutcomes, redis_server: RedisServer) -> None:
    redis_server.ask("SET", "headrace:dead:queue:email", "x")
    asked = claim(new_job_id())
    assert await store.settle([outcome(asked, State.DEAD, dead=letter("d1", job_id=asked.job_id))]) == [True]
    assert len((await store.dead_letters()).items) == 1
    with pytest.raises(BadRecord):
        await store.dead_letters(queue="email")


async def test_a_journal_that_is_stalled_or_killed_is_away_until_it_is_back(own_redis: RedisServer) -> None:
    journal, now = RedisJournal(own_redis.url, SETTINGS), SystemClock().wall()
    await journal.open()
    await journal.append([record("email", now, 1)])
    for take_away, give_back in ((own_redis.stop, own_redis.cont), (own_redis.kill, own_redis.start)):
        await asyncio.to_thread(take_away)
        async with asyncio.timeout(20):  # a bound: each takes at most two store timeouts
            for asked in (
                journal.open(),
                journal.latest(),
                journal.tail("email", 5),
                journal.append([record("email", now + 1, 2)]),
                journal.remember({"email": "{}"}),
                journal.recall("email"),
            ):
                with pytest.raises(StoreUnavailable):
                    await asked
        await asyncio.to_thread(give_back)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await journal.tail("email", 5))[0].wanted == 1
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)  # still loading its file
    await journal.close()


def info(server: RedisServer, section: str) -> str:
    found = server.ask("INFO", section)
    assert isinstance(found, dict)
    return "\n".join(f"{name}:{value}" for name, value in found.items())


async def test_a_lease_of_another_clock_neither_holds_for_longer_than_it_is_nor_ends_at_once(
    store: RedisOutcomes, redis_server: RedisServer
) -> None:
    first = replace(claim(new_job_id()), lease=1.0)
    for ahead in (3600, 10_000_000):  # an hour, four months: the clock was stepped back, or a replica with another has taken over
        await store.claim([first])
        later = SystemClock().wall() + ahead
        key, line = f"headrace:job:{first.job_id}", f"running|0|1|{first.token}|{later * 1000:.0f}|1000"
        redis_server.ask("HSET", key, "c:email", line)
        second = replace(first, token="t2")
        (answer,) = await store.claim([second])
        assert answer.verdict == "held"
        assert 0 < answer.seconds <= 1.0
        async with asyncio.timeout(20):
            while (await store.claim([second]))[0].verdict == "held":
                await asyncio.sleep(0.1)
        assert await store.renew([first]) == [False]
        assert await store.settle([outcome(second, State.SUCCEEDED)]) == [True]
        redis_server.ask("DEL", key)


def test_the_documents_name_the_rights() -> None:
    assert RIGHTS in Path("docs/security.md").read_text()


async def test_the_rights_that_the_documents_name_are_enough_and_less_is_told(
    redis_server: RedisServer, redis_cluster: RedisCluster, store: RedisOutcomes
) -> None:
    redis_cluster.flush()
    for node in [redis_server, *redis_cluster.nodes]:
        node.ask("ACL", "SETUSER", "ada", "reset", "on", ">word", *RIGHTS.split(), "+cluster")
    for url in (redis_server.url, redis_cluster.url):
        async with opened(url.replace("://", "://ada:word@"), Settings()) as allowed:
            asked = claim(new_job_id())
            await allowed.ping()
            await allowed.queued([Queued(asked.job_id, asked.job_type, ("email",), AT)])
            assert [a.verdict for a in await allowed.claim([asked])] == ["granted"]
            assert await allowed.renew([asked]) == [True]
            assert await allowed.settle([outcome(asked, State.DEAD, dead=letter("d1", job_id=asked.job_id))]) == [True]
            assert len((await allowed.dead_letters(queue="email", job_type="user.registered")).items) == 1
            assert await allowed.replayed("d1", AT, 1)
            assert await allowed.drop("d1")
            await allowed.purge()
            await allowed.advice()
        journal = RedisJournal(url.replace("://", "://ada:word@"), Settings())
        await journal.append([record("email", SystemClock().wall(), 1)])
        await journal.remember({"email": "{}"})
        assert len(await journal.latest()) == len(await journal.tail("email", 5)) == 1
        assert await journal.recall("email") is not None
        await journal.close()
    redis_server.ask("ACL", "SETUSER", "ada", "-@hash")
    async with opened(redis_server.url.replace("://", "://ada:word@"), Settings()) as refused:
        with pytest.raises(StoreUnavailable, match=r"Allow it: ~headrace:\*"):
            await refused.claim([claim(new_job_id())])


def test_a_transport_that_was_reset_is_away() -> None:
    """uvloop's own error for a write after a reset, which redis-py lets through; it was a 500, and lost a `queued` record."""
    said = RuntimeError("unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed")
    assert isinstance(said, FAILURES)
    assert isinstance(fault(said), StoreUnavailable)
