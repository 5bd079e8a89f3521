"""The journal's writer: bounded, in order, each record once."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from autoscaler.recorder import MOST_WAITING, SAVE_SECONDS, Recorder
from core.journal import ScalingRecord
from tests.unit.controlled import Notes

pytestmark = pytest.mark.looptime


def record(n: int) -> ScalingRecord:
    return ScalingRecord("jobs", "work", float(n), 1, 1, "steady", "")


def written(notes: Notes) -> list[int]:
    return [int(record.at) for record in notes.records]


async def test_records_are_written_soon_and_states_at_times_and_at_the_end() -> None:
    notes = Notes()
    recorder = Recorder(notes)
    await recorder.open()
    recorder.note(record(1), "first")
    await asyncio.sleep(1.5)
    assert written(notes) == [1]
    assert notes.states == {}
    await asyncio.sleep(SAVE_SECONDS + 2)
    assert notes.states["jobs"][0] == "first"
    recorder.note(record(2), "second")
    await recorder.close()
    assert written(notes) == [1, 2]
    assert await recorder.recall("jobs") == ("second", 0.0)


async def test_a_journal_that_is_away_for_long_gets_the_newest_of_a_bounded_number() -> None:
    notes = Notes()
    notes.away = True
    recorder = Recorder(notes)
    with capture_logs() as logs:
        await recorder.open()
        for n in range(MOST_WAITING + 500):
            recorder.note(record(n), "{}")
            if n % 100 == 0:
                await asyncio.sleep(2.0)
        notes.away = False
        await asyncio.sleep(2.0)
    assert written(notes) == list(range(500, MOST_WAITING + 500))
    assert len(logs) == 1, "said once"
    await recorder.close()


async def test_a_journal_that_goes_away_in_between_loses_nothing_and_doubles_nothing() -> None:
    notes = Notes()
    recorder = Recorder(notes)
    await recorder.open()
    for n in range(100):
        notes.away = n % 7 in (2, 3, 4)
        recorder.note(record(n), "{}")
        await asyncio.sleep(0.5)
    notes.away = False
    await recorder.close()
    assert written(notes) == list(range(100))


async def test_a_close_in_the_middle_of_a_write_lets_it_end() -> None:
    notes = Notes()
    recorder = Recorder(notes)
    await recorder.open()
    notes.gate.clear()
    recorder.note(record(1), "{}")
    await asyncio.sleep(1.5)  # the write has begun, and waits
    recorder.note(record(2), "{}")
    closing = asyncio.ensure_future(recorder.close())
    await asyncio.sleep(1.0)
    notes.gate.set()
    await closing
    assert written(notes) == [1, 2]


async def test_a_journal_that_is_away_at_the_end_stops_no_end() -> None:
    notes = Notes()
    recorder = Recorder(notes)
    await recorder.open()
    notes.away = True
    recorder.note(record(1), "{}")
    await recorder.close()
    assert written(notes) == []


async def test_without_a_journal_all_is_forgotten() -> None:
    recorder = Recorder(None)
    await recorder.open()
    recorder.note(record(1), "{}")
    assert await recorder.recall("jobs") is None
    await recorder.close()
