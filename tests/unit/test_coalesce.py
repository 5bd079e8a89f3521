"""One call for many: errors belong to one item, and what must keep its order keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from core.coalesce import Coalescer
from core.errors import BadRecord, StoreUnavailable


async def test_one_item_that_cannot_be_written_fails_alone() -> None:
    calls: list[list[int]] = []

    async def run(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        if 13 in items or 17 in items:
            raise BadRecord("unlucky")
        return [n * 2 for n in items]

    gather: Coalescer[int, int] = Coalescer(run)
    answers = await asyncio.gather(*(gather.ask(n) for n in range(20)), return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, BadRecord)] == [13, 17]
    assert [answer for answer in answers if isinstance(answer, int)] == [n * 2 for n in range(20) if n not in (13, 17)]
    assert len(calls) < 20


async def test_a_store_that_is_away_is_asked_once() -> None:
    calls = 0

    async def run(_: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise StoreUnavailable("away")

    gather: Coalescer[int, int] = Coalescer(run)
    answers = await asyncio.gather(*(gather.ask(n) for n in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert calls == 1


async def test_an_answer_too_few_fails_and_nobody_waits_for_ever() -> None:
    async def run(items: Sequence[int]) -> list[int]:
        return list(items)[1:]

    gather: Coalescer[int, int] = Coalescer(run)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(gather.ask(n) for n in range(3)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {ValueError}


@pytest.mark.looptime
async def test_items_of_one_key_do_not_overtake_each_other() -> None:
    written: list[tuple[str, int]] = []

    async def run(items: Sequence[tuple[str, int]]) -> list[None]:
        await asyncio.sleep(5.0 if ("a", 1) in items else 0.1)  # the first call is slow
        written.extend(items)
        return [None] * len(items)

    gather: Coalescer[tuple[str, int], None] = Coalescer(run, order=lambda item: item[0])
    asked = [gather.ask(("a", 1))]
    await asyncio.sleep(0.01)
    asked += [gather.ask(("a", 2)), gather.ask(("b", 1))]
    await asyncio.gather(*asked)
    assert written == [("b", 1), ("a", 1), ("a", 2)]


async def test_cancelling_a_call_cancels_those_who_asked() -> None:
    async def run(_: Sequence[int]) -> list[int]:
        await asyncio.Event().wait()
        return []

    gather: Coalescer[int, int] = Coalescer(run)
    asked = gather.ask(1)
    await asyncio.sleep(0.01)
    for task in gather._tasks:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
