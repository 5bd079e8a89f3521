"""The first signal drains, a repeat of it changes nothing, a later one ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from telemetry.signals import PARENT_DIED, REPEATED_WITHIN, listen


@pytest.fixture
async def heard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What was asked for; the loop's clock says what `now` says."""
    loop, asked = asyncio.get_running_loop(), list[str]()
    listen(lambda: asked.append("drain"), lambda: asked.append("end"))
    yield asked
    monkeypatch.undo()
    for number in (signal.SIGTERM, signal.SIGINT, PARENT_DIED):
        loop.remove_signal_handler(number)


async def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    for _ in range(3):  # through the loop's own pipe
        await asyncio.sleep(0)


async def test_a_signal_and_its_repeats_are_one_wish(heard: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        await send(number)
    assert heard == ["drain"]
    now += REPEATED_WITHIN * 0.99
    await send(signal.SIGTERM)
    assert heard == ["drain"]
    now += REPEATED_WITHIN * 0.02
    await send(signal.SIGINT)
    assert heard == ["drain", "end"]


async def test_the_end_of_the_parent_asks_for_a_drain_and_cuts_none_short(
    heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    await send(PARENT_DIED)
    assert heard == ["drain"]
    for _ in range(3):
        now += 10.0
        await send(PARENT_DIED)
    assert heard == ["drain"]
    await send(signal.SIGTERM)
    assert heard == ["drain", "end"]
