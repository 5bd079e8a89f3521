"""The workload of the simulated system: two contracts, three handlers, and how each run ends, drawn from the seed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel, field_validator

from consumer.context import Context
from consumer.registry import Registry, handler
from core.catalogue import Catalogue
from core.chance import SeededChance
from core.clock import Clock
from core.errors import Permanent, RetryLater
from core.model import Contract
from core.retry import RetryPolicy
from tests.simulation.witness import Run, Witness

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Numbers from here on make the model's own validator fail in a way that pydantic does not catch.
UNFORESEEN = 1_000_000
# A text that no store takes as it is: a lone surrogate and a NUL.
FOUL = "no such file: \udcff\0"


class Payload(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def look(cls, n: int) -> int:
        nothing: dict[int, int] = {}
        return n if n < UNFORESEEN else nothing[n]


BOTH = Contract("both.happened", Payload, ("one", "two"), RetryPolicy(4, 0.3, 2.0), time_limit=6.0)
ONE = Contract("one.happened", Payload, ("one",), RetryPolicy(3, 0.3, 2.0), time_limit=6.0)
LATE = Contract("late.happened", Payload, ("two",), RetryPolicy(3, 0.3, 2.0), time_limit=6.0, deadline=20.0)
CONTRACTS = {contract.name: contract for contract in (BOTH, ONE, LATE)}
CATALOGUE = Catalogue(CONTRACTS.values())
QUEUES = ("one", "two")
LONGEST = 6.0  # seconds, of their time limits


class Handlers:
    """The handlers of one run. seed: what a run does follows from it, from the job and from the attempt, and from nothing else,
    so that a schedule with fewer faults has the same work."""

    def __init__(self, seed: int, clock: Clock, witness: Witness) -> None:
        self._seed = seed
        self._clock = clock
        self._witness = witness

    def registry(self) -> Registry:
        @handler(BOTH.name, queue="one")
        async def both_one(payload: Payload, ctx: Context) -> Any:
            return await self._coroutine(payload, ctx)

        @handler(BOTH.name, queue="two")
        def both_two(payload: Payload, ctx: Context) -> Any:
            return self._plain(payload, ctx)

        @handler(ONE.name, queue="one")
        async def one_one(payload: Payload, ctx: Context) -> Any:
            return await self._coroutine(payload, ctx)

        @handler(LATE.name, queue="two")
        async def late_two(payload: Payload, ctx: Context) -> Any:
            return await self._coroutine(payload, ctx)

        return Registry(CATALOGUE, [both_one, both_two, one_one, late_two])

    def _drawn(self, payload: Payload, ctx: Context) -> SeededChance:
        return SeededChance(f"{self._seed}/{payload.n}/{ctx.queue}/{ctx.envelope.replay}/{ctx.attempt}", self._clock)

    async def _coroutine(self, payload: Payload, ctx: Context) -> Any:
        chance = self._drawn(payload, ctx)
        run = self._witness.begins(ctx, plain=False)
        try:
            if chance.uniform(0, 1) < 0.2:
                ctx.progress(payload.n)
            await asyncio.sleep(chance.uniform(0, 1) ** 4 * 8.0)  # most are short; one in some twenty is beyond its time limit
            return self._end(run, chance)
        finally:
            self._witness.ends(run)

    def _plain(self, payload: Payload, ctx: Context) -> Any:
        run = self._witness.begins(ctx, plain=True)
        try:
            return self._end(run, self._drawn(payload, ctx))
        finally:
            self._witness.ends(run)

    def _end(self, run: Run, chance: SeededChance) -> Any:
        drawn = chance.uniform(0, 1)
        if drawn < 0.15:
            raise ValueError("it failed" if drawn < 0.1 else FOUL)
        if drawn < 0.19:
            raise RetryLater(chance.uniform(0, 3))
        if drawn < 0.25:
            raise Permanent("never")
        self._witness.effect(run)
        return {"done": run.attempt}


class Inline(Executor):
    """An executor without threads: a function runs in the event loop, a drawn time after it was handed in."""

    def __init__(self, chance: SeededChance) -> None:
        self._chance = chance

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        asyncio.get_running_loop().call_later(self._chance.uniform(0.0, 0.5), _run, future, functools.partial(fn, *args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...


def _run(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
