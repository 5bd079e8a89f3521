"""The lists of dead letters on Redis: pages of bounded work, with equal times and entries that lead nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from adapters.redis import RedisOutcomes
from adapters.redis.letters import MOST_PAGES
from core.clock import SystemClock
from core.errors import StoreUnavailable
from core.identity import new_job_id
from core.model import State
from core.ports import DeadLetter
from core.settings import Settings
from tests.contract.outcomes_suite import AT, claim, letter, outcome
from tests.servers.redis import RedisCluster, RedisServer


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisOutcomes]:
    redis_server.ask("FLUSHALL")
    store = RedisOutcomes(redis_server.url, Settings(), SystemClock())
    yield store
    await store.close()


@pytest.fixture
async def on_cluster(redis_cluster: RedisCluster) -> AsyncIterator[RedisOutcomes]:
    redis_cluster.flush()
    store = RedisOutcomes(redis_cluster.url, Settings(), SystemClock())
    yield store
    await store.close()


def ids(items: Sequence[DeadLetter]) -> list[str]:
    return [item.dead_id for item in items]


async def test_a_page_without_a_match_ends_and_goes_on(store: RedisOutcomes) -> None:
    await store.bury([letter(f"d{n:04}", died_at=AT + n) for n in range(1000)])
    await store.bury([letter("elsewhere", queue="points", job_type="rare")])
    await store.bury([letter("last", died_at=AT - 1, job_type="rare")])
    pages, found, cursor = 0, [], None
    while pages == 0 or cursor is not None:
        page = await store.dead_letters(queue="email", job_type="rare", cursor=cursor, limit=20)
        pages, cursor = pages + 1, page.cursor
        found += ids(page.items)
    assert found == ["last"]
    assert pages == 1 + 1001 // (20 * MOST_PAGES)


async def test_letters_of_one_time_are_each_on_one_page_though_the_last_one_goes(store: RedisOutcomes) -> None:
    names = [f"d{n:04}" for n in range(700)]
    await store.bury([letter(name) for name in names])
    seen, cursor = [], None
    while True:
        page = await store.dead_letters(cursor=cursor, limit=50)
        seen += ids(page.items)
        cursor = page.cursor
        if cursor is None:
            break
        assert await store.drop(seen[-1])
    assert seen == names[::-1]


async def test_a_cursor_whose_letter_died_again_stays_where_it_was(store: RedisOutcomes) -> None:
    await store.bury([letter(f"d{n}", died_at=AT + n) for n in range(6)])
    page = await store.dead_letters(limit=2)
    assert ids(page.items) == ["d5", "d4"]
    await store.replayed("d4", AT + 7, 1)
    await store.bury([letter("d4", died_at=AT + 9)])
    assert ids((await store.dead_letters(cursor=page.cursor, limit=2)).items) == ["d3", "d2"]
    assert ids((await store.dead_letters(limit=9)).items) == ["d4", "d5", "d3", "d2", "d1", "d0"]


@pytest.mark.parametrize("cursor", ["", "~", "x~d1", "nan~d1", "inf~d1", "1750000000~"])
async def test_no_cursor_of_ours_is_a_value_error(store: RedisOutcomes, cursor: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        await store.dead_letters(cursor=cursor)


async def test_entries_that_lead_nowhere_are_taken_out(store: RedisOutcomes, redis_server: RedisServer) -> None:
    await store.bury([letter(f"d{n}", died_at=AT + n) for n in range(4)])
    redis_server.ask("DEL", "headrace:dead:d1", "headrace:dead:d2")
    page = await store.dead_letters(queue="email", limit=3)
    assert ids(page.items) == ["d3"]
    assert page.cursor is not None, "the page is short, and more come"
    assert redis_server.ask("ZCARD", "headrace:dead") == 2
    assert redis_server.ask("ZCARD", "headrace:dead:queue:email") == 2
    assert ids((await store.dead_letters(queue="email", cursor=page.cursor)).items) == ["d0"]


async def test_on_a_cluster_a_letter_that_is_not_listed_is_listed_by_a_purge_or_by_the_same_again(
    on_cluster: RedisOutcomes, redis_cluster: RedisCluster
) -> None:
    asked = claim(new_job_id())
    dead = letter("d1", job_id=asked.job_id)
    ended = outcome(asked, State.DEAD, dead=dead)
    assert await on_cluster.settle([ended]) == [True]
    lists = redis_cluster.primary_of("{headrace:dead}")
    names = [str(name) for name in lists.ask("KEYS", "{headrace:dead}*")]
    assert len(names) == 4
    for mend in (on_cluster.purge, lambda: on_cluster.settle([ended])):
        lists.ask("DEL", *names)  # as if the process had ended in between
        assert await on_cluster.dead_letter("d1") is None
        await mend()
        assert await on_cluster.dead_letter("d1") == dead
        assert ids((await on_cluster.dead_letters(queue="email", job_type="user.registered")).items) == ["d1"]


async def test_on_a_cluster_a_list_that_cannot_be_written_is_the_store_away_and_nothing_is_lost(
    on_cluster: RedisOutcomes, redis_cluster: RedisCluster
) -> None:
    lists = redis_cluster.primary_of("{headrace:dead}")
    elsewhere = next(claim(job) for job in iter(new_job_id, "") if redis_cluster.primary_of(f"{{{job}}}") is not lists)
    ended = outcome(elsewhere, State.DEAD, dead=letter("d1", job_id=elsewhere.job_id))
    lists.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="memory is full"):
            await on_cluster.settle([ended])
    finally:
        lists.ask("CONFIG", "SET", "maxmemory", "0")
    assert await on_cluster.settle([ended]) == [True]
    assert ids((await on_cluster.dead_letters()).items) == ["d1"]
    assert await on_cluster.drop("d1")
    assert not (await on_cluster.dead_letters()).items
    await on_cluster.purge()
    assert not (await on_cluster.dead_letters()).items
