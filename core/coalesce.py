"""Gather what is asked for in one turn of the loop, and ask for it in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from core.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
_Asked = tuple[Item, "asyncio.Future[Result]", Hashable]


class Coalescer(Generic[Item, Result]):
    """Turns many `ask(item)` into few `run(items)`.

    An item that is asked for while `in_flight` calls are under way waits and goes with the next one, so that a slow server gets
    larger batches, not more of them. StoreUnavailable is the failure of every item of its batch. Any other error is one item's: the
    batch is halved until it is found, and the others get their answers.

    most: items in one batch. in_flight: calls at once. order: items with the same key are never in two calls at once, so that the
    later one cannot overtake; None where their order does not matter.
    How many items may wait is bounded by the callers: each awaits its answer.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 500,
        in_flight: int = 2,
        order: Callable[[Item], Hashable] | None = None,
    ) -> None:
        self._run = run
        self._most = most
        self._free = in_flight
        self._order = order
        self._under_way: set[Hashable] = set()
        self._waiting: list[_Asked[Item, Result]] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, item: Item) -> asyncio.Future[Result]:
        """The future of the answer to `item`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future, self._order and self._order(item)))
        if not self._scheduled and self._free:
            self._scheduled = True
            loop.call_soon(self._flush)
        return future

    async def drain(self) -> None:
        """Wait until nothing is under way. The caller bounds the wait."""
        while self._tasks or self._waiting:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _flush(self) -> None:
        self._scheduled = False
        while self._free and (batch := self._next()):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._work(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> list[_Asked[Item, Result]]:
        """Take the next batch out of what waits; with an order, without those whose key is under way."""
        first = self._waiting[: self._most]
        if self._order is None:
            self._waiting = self._waiting[self._most :]
            return first
        if self._under_way.isdisjoint([key for _, _, key in first]):  # nearly always
            batch, left = first, self._waiting[self._most :]
        else:
            batch, left = [], []
            for asked in self._waiting:
                fits = len(batch) < self._most and asked[2] not in self._under_way
                (batch if fits else left).append(asked)
        self._waiting = left
        self._under_way.update([key for _, _, key in batch])
        return batch

    async def _work(self, batch: list[_Asked[Item, Result]]) -> None:
        try:
            await self._answer(batch)
        finally:
            for _, future, _ in batch:
                future.cancel()  # without effect on those that have their answer
            if self._order is not None:
                self._under_way.difference_update([key for _, _, key in batch])
            self._free += 1
            self._flush()

    async def _answer(self, batch: list[_Asked[Item, Result]]) -> None:
        try:
            answered = zip(batch, await self._run([item for item, _, _ in batch]), strict=True)
            results = [(future, result) for (_, future, _), result in answered]
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, StoreUnavailable):
                half = len(batch) // 2
                await self._answer(batch[:half])
                await self._answer(batch[half:])
                return
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result in results:
            if not future.done():
                future.set_result(result)
