"""The deliveries of one queue: taken, claimed, run and settled, with bounded concurrency, in tasks that are ours."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from consumer.context import Context
from consumer.execute import Bury, Plan, RunsOn, Succeed, after_failure, describe, result_text, run_coroutine, run_thread
from consumer.given_up import GivenUp
from consumer.ledger import Ledger
from consumer.registry import Handler, Registry
from consumer.resources import Resources
from consumer.settings import ConsumerSettings
from consumer.settle import Settler
from consumer.tally import Tally
from jobs import payload
from jobs.clock import Clock
from jobs.envelope import Envelope
from jobs.errors import EnvelopeError, PayloadError, StoreUnavailable, UnknownVersion
from jobs.figures import QueueFigures
from jobs.identity import claim_token
from jobs.model import Reason
from jobs.ports import Broker, Claim, Delivery, Depth, Failure, Subscription, Verdict
from telemetry import logs, metrics

_log = logs.get("consumer.runtime")


@dataclass(frozen=True)
class Tools:
    """What the queues of one process share. threads: where plain functions run; None where there are none."""

    settings: ConsumerSettings
    registry: Registry
    resources: Resources
    threads: Executor | None
    clock: Clock


class QueueRuntime:
    """Runs the handlers of one queue."""

    def __init__(self, queue: str, broker: Broker, ledger: Ledger | None, tools: Tools) -> None:
        self.queue = queue
        self.arrived = 0
        self._broker = broker
        self._ledger = ledger
        self._tools = tools
        self._concurrency = tools.settings.concurrency
        self._tally = Tally()
        self._settler = Settler(queue, ledger, tools.clock, self._tally)
        self._waiting: deque[tuple[Delivery, float]] = deque()
        self._tasks: dict[asyncio.Task[None], Delivery] = {}
        self._pausing: asyncio.Task[None] | None = None
        self._draining = False
        self._begins = True
        self._subscription = broker.subscribe(queue, tools.settings.held_at_most, self._deliver)
        self._given_up = None if ledger is None else GivenUp(queue, broker, self._settler, tools.clock)
        self._rng = random.Random()
        self._in_flight = metrics.IN_FLIGHT.labels(queue)
        self._wait_seconds = metrics.WAIT_SECONDS.labels(queue)
        self._verdicts = {verdict: metrics.CLAIMS.labels(queue, verdict.value) for verdict in Verdict}
        handlers = tools.registry.handlers([queue])
        self._handler_seconds = {h.contract.name: metrics.HANDLER_SECONDS.labels(queue, h.contract.name) for h in handlers}
        metrics.HELD.labels(queue).set_function(lambda: self.held)
        self._paused = metrics.PAUSED.labels(queue)

    @property
    def held(self) -> int:
        """Deliveries that we have and have not settled."""
        return len(self._waiting) + len(self._tasks)

    @property
    def credit(self) -> int:
        """How many more the broker may give us now."""
        return self._tools.settings.held_at_most - self.held

    @property
    def paused(self) -> bool:
        return self._draining or (self._ledger is not None and not self._ledger.up)

    @property
    def subscribed(self) -> bool:
        """Whether the broker counts us as a consumer."""
        return self._subscription.active

    def figures(self) -> QueueFigures:
        """What the controller is told."""
        return self._tally.figures(self.held, self._tools.clock.steady())

    async def depth(self) -> Depth:
        return await self._broker.depth(self.queue)

    async def start(self) -> None:
        """Subscribe; with an outcome store, also to the dead-letter queue beside this one."""
        if self._ledger is not None:
            self._ledger.changed.append(self._follow_store)
            if not self._ledger.up:
                self._paused.set(1)
                return
        await asyncio.gather(*(s.resume() for s in self._subscriptions()))

    async def drain(self, seconds: float) -> None:
        """Take nothing more, hand back what has not begun, let what runs end within `seconds`, hand back the rest.

        What the broker sent before it knew still begins where a slot is free: a consumer that is taken away at little load would
        else hand back a job now and then.
        """
        self._draining = True
        subscriptions = self._subscriptions()
        await asyncio.gather(*(s.pause() for s in subscriptions))
        self._begins = False
        self._hand_back_waiting(lambda _: True)
        running = [*self._tasks, *(() if self._given_up is None else self._given_up.moving)]
        if running:
            _, late = await asyncio.wait(running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                _log.warning("handing back what did not end in time", queue=self.queue, deliveries=len(late), drain_s=seconds)
                # Cancelled coroutines give their claims up, which is one store command: 5 s are plenty, and a limit.
                await asyncio.wait(late, timeout=5.0)
        await asyncio.gather(*(s.close() for s in subscriptions))

    def hand_back_overdue(self) -> None:
        """Hand back what has waited so long for a slot that the broker would soon take the channel away."""
        now = asyncio.get_running_loop().time()
        limit = self._tools.settings.hold_seconds - self._tools.registry.longest_limit([self.queue])[0]
        self._hand_back_waiting(lambda since: now - since > limit)

    def _hand_back_waiting(self, which: Callable[[float], bool]) -> None:
        kept: deque[tuple[Delivery, float]] = deque()
        for delivery, since in self._waiting:
            if which(since):
                self._settler.hand_back(self._subscription, delivery)
            else:
                kept.append((delivery, since))
        self._waiting = kept

    def _follow_store(self, up: bool) -> None:
        self._paused.set(0 if up else 1)
        if self._draining:
            return
        subscriptions = self._subscriptions()
        before = self._pausing

        async def follow() -> None:
            if before is not None:
                await asyncio.wait({before})
            await asyncio.gather(*((s.resume if up else s.pause)() for s in subscriptions))

        self._pausing = asyncio.get_running_loop().create_task(follow())

    def _subscriptions(self) -> list[Subscription]:
        return [self._subscription] if self._given_up is None else [self._subscription, self._given_up.subscription]

    # -------------------------------------------------------------------------------------------------- from the broker

    def _deliver(self, delivery: Delivery) -> None:
        self.arrived += 1
        self._waiting.append((delivery, asyncio.get_running_loop().time()))
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._tasks) < self._concurrency and self._begins:
            delivery, _ = self._waiting.popleft()
            task = asyncio.get_running_loop().create_task(self._work(delivery))
            self._tasks[task] = delivery
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        delivery = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nothing in _work may raise; if it does, the broker's delivery limit ends what would go round for ever.
            _log.error("a delivery could not be settled: handing it back", queue=self.queue, exc_info=error)
            self._settler.hand_back(self._subscription, delivery)
        self._fill()

    # ------------------------------------------------------------------------------------------------------ one delivery

    async def _work(self, delivery: Delivery) -> None:
        claim: Claim | None = None
        try:
            try:
                envelope = Envelope.read(delivery.headers, self._tools.clock.wall())
            except EnvelopeError as error:
                reason = Reason.VERSION if isinstance(error, UnknownVersion) else Reason.MALFORMED
                await self._settler.bury_unreadable(self._subscription, delivery, reason, describe(error))
                return
            if self._ledger is not None:
                claim = self._claim_of(envelope)
                if not await self._claimed(self._ledger, claim, delivery, envelope):
                    return
            plan = await self._run(delivery, envelope, claim)
            await self._settler.carry_out(plan, self._subscription, delivery, envelope, claim)
        except StoreUnavailable as error:
            _log.warning("handing back: the outcome store was away too long", queue=self.queue, why=str(error))
            self._settler.hand_back(self._subscription, delivery)
        except asyncio.CancelledError as ended:
            # Drained in mid-run, or the claim was taken over. Our token decides: giving up a lost claim does nothing.
            # Beside a function that runs on in its thread nobody may run a second one: its claim ends with its lease.
            if claim is not None and not isinstance(ended, RunsOn):
                await self._settler.give_up_claim(claim)
            self._settler.hand_back(self._subscription, delivery)

    def _claim_of(self, envelope: Envelope) -> Claim:
        return Claim(
            queue=self.queue,
            job_id=envelope.job_id,
            job_type=envelope.job_type,
            accepted_at=envelope.accepted_at,
            replay=envelope.replay,
            attempt=envelope.attempt,
            token=claim_token(),
            lease=self._tools.settings.lease,
        )

    async def _claimed(self, ledger: Ledger, claim: Claim, delivery: Delivery, envelope: Envelope) -> bool:
        """Whether the run is ours. If not, the delivery is settled when this returns."""
        answer = await ledger.claim(claim, _canceller(asyncio.current_task()))
        self._verdicts[answer.verdict].inc()
        match answer.verdict:
            case Verdict.GRANTED:
                return True
            case Verdict.SETTLED | Verdict.STALE:
                self._settler.drop(self._subscription, delivery)
            case Verdict.HELD:
                await self._settler.put_off(self._subscription, delivery, envelope, answer.seconds)
            case Verdict.WAITING:
                await self._settler.put_off(self._subscription, delivery, envelope.next_attempt(), answer.seconds)
        return False

    async def _run(self, delivery: Delivery, envelope: Envelope, claim: Claim | None) -> Plan:
        now = self._tools.clock.wall()
        if envelope.deadline is not None and now > envelope.deadline:
            return Bury(Reason.EXPIRED, Failure("deadline", f"{now - envelope.deadline:.1f} s past its deadline"))
        handler = self._tools.registry.find(self.queue, envelope.job_type)
        if handler is None:
            return Bury(Reason.NO_HANDLER, Failure("registry", f"no handler for {envelope.job_type!r} in queue {self.queue!r}"))
        try:
            model = payload.read(handler.contract.payload, delivery.body)
        except PayloadError as error:
            return Bury(Reason.INVALID, describe(error))
        waited = max(0.0, now - envelope.accepted_at)
        if envelope.attempt == 1:
            self._wait_seconds.observe(waited)
        ctx = Context(self.queue, envelope, handler.contract.time_limit, self._noter(claim))
        # A retry waits for its time, not for a consumer: it says nothing of how late we are.
        return await self._call(handler, model, ctx, waited if envelope.attempt == 1 else 0.0)

    async def _call(self, handler: Handler, model: payload.Model, ctx: Context, waited: float) -> Plan:
        injected = self._tools.resources.arguments(handler.injected) if handler.injected else {}
        began = self._tools.clock.steady()
        self._in_flight.inc()
        self._tally.begin(began)
        try:
            if handler.is_coroutine:
                value = await run_coroutine(handler.function, model, ctx, injected)
            else:
                assert self._tools.threads is not None  # noqa: S101 - made when any handler is a plain function
                value = await run_thread(handler.function, model, ctx, injected, self._tools.threads)
            return Succeed(result_text(value, ctx))
        except Exception as error:  # whatever a handler raises is an outcome
            return after_failure(error, handler.contract.retry, ctx.attempt, self._rng)
        finally:
            ended = self._tools.clock.steady()
            self._in_flight.dec()
            self._tally.end(began, ended, waited, ctx.envelope.trace_id or "")
            self._handler_seconds[handler.contract.name].observe(ended - began)

    def _noter(self, claim: Claim | None) -> Callable[[str], None]:
        if self._ledger is None or claim is None:
            return lambda _: None
        ledger, loop = self._ledger, asyncio.get_running_loop()
        return lambda text: _on_loop(loop, lambda: ledger.note(claim, text))


def _canceller(task: asyncio.Task[Any] | None) -> Callable[[], None]:
    def cancel() -> None:
        if task is not None:
            task.cancel()

    return cancel


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call on the loop, from wherever we are: a handler may be in a thread, and outlive the loop."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
