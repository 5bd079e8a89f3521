"""The contract of every journal. An adapter's module subclasses `JournalContract` and gives an opened, empty `journal`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.clock import Clock
from core.journal import AlertRecord, Journal, ScalingRecord
from core.settings import Settings

MOST, AGE = 10, 60.0
SETTINGS = Settings(journal_records=MOST, journal_age=AGE, store_timeout=0.5)


def record(queue: str, at: float, wanted: int = 1, **more: Any) -> ScalingRecord:
    return ScalingRecord(queue, "consumer", at, asked=1, wanted=wanted, reason="steady", text="backlog 0", **more)


class JournalContract:
    """`clock` is the one that the journal reads, or agrees with."""

    async def test_a_record_comes_back_as_it_was(self, journal: Journal, clock: Clock) -> None:
        full = record(
            "email",
            clock.wall(),
            scaled=45,
            running=3,
            ready=2,
            backlog=48_210.0,
            arrival_rate=120.5,
            ages={"ready_jobs": 0.01, "unacked": 6.2},
            alerts=(AlertRecord("latency", "mean latency 6.0 s is above 5 s, grüße 世界", "https://tempo.example/t/1"),),
            dry_run=True,
            error="no quota",
            cordoned=1,
        )
        await journal.append([full])
        assert await journal.tail("email", 5) == [full]
        assert full.service_rate is None, "unknown stays unknown"

    async def test_the_newest_of_each_queue_and_the_tail_of_one_the_oldest_first(self, journal: Journal, clock: Clock) -> None:
        now = clock.wall()
        assert await journal.latest() == []
        assert await journal.tail("email", 5) == []
        await journal.append([record("points", now, 1), record("email", now, 2), record("points", now + 1, 3)])
        await journal.append([record("email", now + 2, 4)])
        assert [(r.queue, r.wanted) for r in await journal.latest()] == [("email", 4), ("points", 3)]
        assert [r.wanted for r in await journal.tail("email", 5)] == [2, 4]
        assert [r.wanted for r in await journal.tail("points", 1)] == [3]

    async def test_the_number_of_records_is_capped_for_each_queue(self, journal: Journal, clock: Clock) -> None:
        now = clock.wall()
        await journal.append([record("rare", now, 99)])
        await journal.append([record("email", now + n, n) for n in range(MOST + 5)])
        for n in range(MOST + 5, MOST + 8):
            await journal.append([record("email", now + n, n)])
        assert [r.wanted for r in await journal.tail("email", 1000)] == list(range(8, MOST + 8))
        assert [r.wanted for r in await journal.tail("rare", 1000)] == [99], "a busy queue takes nothing from a quiet one"

    async def test_nothing_to_append_is_nothing(self, journal: Journal) -> None:
        await journal.append([])
        assert await journal.latest() == []

    async def test_what_is_remembered_is_recalled_with_its_age(self, journal: Journal) -> None:
        assert await journal.recall("email") is None
        await journal.remember({"email": '{"n": 1}', "points": "{}"})
        await journal.remember({"email": '{"n": 2}'})
        kept = await journal.recall("email")
        assert kept is not None
        assert kept[0] == '{"n": 2}'
        assert kept[1] == pytest.approx(0.0, abs=20.0)  # the store's own clock on a busy machine
        assert (await journal.recall("points") or ("",))[0] == "{}"

    async def test_records_survive_a_reopened_journal(self, journal: Journal, clock: Clock) -> None:
        await journal.append([replace(record("email", clock.wall()), wanted=7)])
        await journal.open()
        assert [r.wanted for r in await journal.latest()] == [7]
