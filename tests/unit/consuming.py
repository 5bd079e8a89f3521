"""A consumer of one queue on the adapters in memory, whose handler is any function; in virtual time where a test asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from adapters.sqlite import SqliteBroker, SqliteOutcomes
from adapters.sqlite.subscription import SqliteSubscription
from consumer import Context, handler
from consumer.app import threads as real_threads
from consumer.ledger import Ledger
from consumer.once import Once
from consumer.registry import Registry
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.clock import Clock
from core.envelope import Envelope
from core.errors import BrokerUnavailable, StoreUnavailable
from core.identity import new_job_id
from core.model import Contract
from core.ports import Answer, Claim, DeadLetter, Delivery, DeliveryRecord, Message, Outcome
from core.retry import RetryPolicy
from tests.unit.controlled import LoopClock

Act = Callable[["Payload", Context], Any]


class Payload(BaseModel):
    n: int = 1


class Inline(Executor):
    """Plain functions on the loop's own thread: at once, and in order."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        future.set_result(fn(*args, **kwargs))
        return future


class Store(SqliteOutcomes):
    """away: it refuses all. refuses: names of methods that alone refuse. slow: names of those that wait until `gate` is set.

    bad: raised for any command with an item of which it says so. calls: how often each was asked.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.away = False
        self.refuses: set[str] = set()
        self.slow: set[str] = set()
        self.gate = asyncio.Event()
        self.bad: Callable[[str, Any], Exception | None] = lambda name, item: None
        self.calls: dict[str, int] = {}
        self.progressed: list[str] = []

    async def _here(self, name: str, items: Sequence[Any] = ()) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.away or name in self.refuses:
            raise StoreUnavailable("taken away")
        for item in items:
            if (error := self.bad(name, item)) is not None:
                raise error
        if name in self.slow:
            await self.gate.wait()

    async def ping(self) -> None:
        await self._here("ping")
        await super().ping()

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        await self._here("claim", claims)
        return await super().claim(claims)

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        await self._here("renew", claims)
        return await super().renew(claims)

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        await self._here("settle", outcomes)
        return await super().settle(outcomes)

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        await self._here("bury", dead)
        await super().bury(dead)

    async def progress(self, claim: Claim, progress: str) -> bool:
        await self._here("progress", [claim])
        self.progressed.append(progress)
        return await super().progress(claim, progress)


class Broker(SqliteBroker):
    """takes: whether it takes what is to be put off, and what is published. backs: deliveries that were handed back."""

    takes = True
    postponed = 0
    backs = 0

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        if self.takes:
            return super().publish(window)
        failed: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in window]
        for future in failed:
            future.set_exception(BrokerUnavailable("blocked"))
        return failed

    def subscribe(self, queue: str, prefetch: int, deliver: Callable[[Delivery], None]) -> SqliteSubscription:
        return _Subscription(self, queue, prefetch, deliver)


class _Subscription(SqliteSubscription):
    async def postpone(self, delivery: Delivery, message: Message) -> None:
        broker: Any = self._broker
        broker.postponed += 1
        if not broker.takes:
            raise BrokerUnavailable("blocked")
        await super().postpone(delivery, message)

    def hand_back(self, delivery: Delivery) -> None:
        broker: Any = self._broker
        broker.backs += 1
        super().hand_back(delivery)


@dataclass
class World:
    """A running queue. runs: the contexts of the handler's runs, in order."""

    broker: Broker
    store: Store
    ledger: Ledger
    tools: Tools
    clock: Clock
    runtime: QueueRuntime
    runs: list[Context] = field(default_factory=list)

    async def submit(self, body: bytes = b'{"n": 1}', headers: dict[str, str] | None = None, **more: Any) -> str:
        given: dict[str, Any] = {"job_id": new_job_id(), "job_type": "thing.done", "accepted_at": self.clock.wall()} | more
        queue = given.pop("queue", None)
        envelope = Envelope(**given)
        message = Message(envelope.job_id, "thing.done", headers or envelope.headers(), body, queue)
        await SqliteBroker.publish(self.broker, [message])[0]
        return envelope.job_id

    async def until(self, what: Callable[[], Any], within: float = 30.0) -> Any:
        """The result of `what`, as soon as that is true; it may be a coroutine function."""
        async with asyncio.timeout(within):
            while True:
                found = what()
                found = await found if isinstance(found, Coroutine) else found
                if found:
                    return found
                await asyncio.sleep(0.02)

    async def record(self, job_id: str) -> DeliveryRecord | None:
        job = await self.store.job(job_id)
        return job.deliveries[0] if job else None

    async def ended(self, job_id: str, within: float = 30.0) -> DeliveryRecord:
        async def final() -> DeliveryRecord | None:
            record = await self.record(job_id)
            return record if record is not None and record.state.final else None

        found: DeliveryRecord = await self.until(final, within)
        return found

    async def dead(self) -> list[DeadLetter]:
        return list((await self.store.dead_letters()).items)

    async def empty(self, within: float = 30.0) -> bool:
        async def nothing() -> bool:
            depth = await self.broker.depth("work")
            return not (depth.ready or depth.unacked or depth.delayed)

        return bool(await self.until(nothing, within))


@asynccontextmanager
async def consuming(
    act: Act,
    *,
    plain: bool = False,
    retry: RetryPolicy | None = None,
    time_limit: float = 0.3,
    payload: type[BaseModel] = Payload,
    clock: Clock | None = None,
    threads: Callable[[str, int], Executor] | None = None,
    once: Once | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """clock: the loop's own unless given, so that a test with virtual time is wholly in it. once: of a process for one delivery."""
    runs: list[Context] = []

    @handler("thing.done", queue="work")
    async def coroutine(payload, ctx: Context) -> Any:  # type: ignore[no-untyped-def]  # the payload is the test's
        runs.append(ctx)
        answer = act(payload, ctx)
        return await answer if asyncio.iscoroutine(answer) else answer

    @handler("thing.done", queue="work")
    def function(payload, ctx: Context) -> Any:  # type: ignore[no-untyped-def]  # the payload is the test's
        runs.append(ctx)
        return act(payload, ctx)

    policy = retry or RetryPolicy(max_attempts=3, base=0.01, cap=0.02)
    catalogue = Catalogue([Contract("thing.done", payload, ("work",), policy, time_limit=time_limit)])
    given, clock = ConsumerSettings(**{"concurrency": 4, "claim_lease": 1.0} | settings), clock or LoopClock()
    given = given if once is None else given.for_one_delivery()
    registry = Registry(catalogue, [function if plain else coroutine])
    broker = Broker(":memory:", catalogue.topology(), given, clock)
    store = Store(":memory:", given, clock)
    ledger = Ledger(store, lease=given.claim_lease, give_up=given.hold_limit)
    await ledger.open()
    await broker.open()
    async with Resources({}, []) as resources:
        tools = Tools(given, registry, resources, threads or real_threads, clock, once=once)
        world = World(broker, store, ledger, tools, clock, QueueRuntime("work", broker, ledger, tools), runs)
        await world.runtime.start()
        try:
            yield world
        finally:
            store.away, store.refuses, store.slow, broker.takes = False, set(), set(), True
            await world.runtime.drain(2.0)
            await broker.close()
            await ledger.close()
