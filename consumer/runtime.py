"""The deliveries of one queue: taken, begun with bounded concurrency in tasks that are ours, and drained."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from consumer.given_up import GivenUp
from consumer.ledger import Ledger
from consumer.settle import Settler
from consumer.taken import Stage, Stop, Taken
from consumer.tally import Tally
from consumer.way import Tools, Way
from core.figures import QueueFigures
from core.ports import Broker, Delivery, Depth, Subscription
from telemetry import logs, metrics

__all__ = ["QueueRuntime", "Tools"]

_log = logs.get("consumer.runtime")

# At the end of a drain: for giving claims up, which is one store command, and for a publish that is under way.
_LAST_WAIT = 5.0
# A subscription answers within the adapter's own timeouts; this is for one that does not.
_ANSWER_WITHIN = 15.0


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
        self._settler = Settler(queue, ledger, tools.clock, tools.chance, self._tally, tools.settings.hold_limit)
        self._settler.later.changed = self._begin_or_not
        self._loop = asyncio.get_running_loop()
        self._way = Way(queue, ledger, tools, self._settler, self._tally)
        self._waiting: deque[Taken] = deque()
        self._suspects: deque[Taken] = deque()
        self._tasks: dict[asyncio.Task[None], Taken] = {}
        self._starting: asyncio.Task[None] | None = None
        self._draining = False
        self._drained = False
        self._cordoned = False
        self._finished = False
        self._once = tools.once
        self._has_the_one = False
        self._late: deque[Taken] = deque()  # what came beside the one
        self._begins = tools.once is None and (ledger is None or ledger.up)
        if tools.once is not None:
            tools.once.add(self)
        self._most = self._prefetch = tools.settings.held_at_most(tools.registry.longest_limit([queue])[0])
        self._subscription = broker.subscribe(queue, self._most, self._deliver)
        self._given_up = None if ledger is None else GivenUp(queue, broker, ledger, self._settler, tools)
        metrics.HELD.labels(queue).set_function(lambda: self.held)
        self._paused = metrics.PAUSED.labels(queue)

    @property
    def held(self) -> int:
        """Deliveries that we have and have not settled."""
        return len(self._waiting) + len(self._suspects) + len(self._late) + len(self._tasks)

    @property
    def credit(self) -> int:
        """How many more the broker may give us now."""
        return self._most - self.held

    @property
    def paused(self) -> bool:
        """Whether nothing is taken, or nothing begun: the store is unavailable, we are cordoned or draining, or have our
        delivery."""
        return self._draining or self._cordoned or self._finished or self.blind

    @property
    def blind(self) -> bool:
        """Whether the outcome store is unavailable."""
        return self._ledger is not None and not self._ledger.up

    @property
    def stuck(self) -> bool:
        """Whether nothing is begun because the broker takes nothing that is to be put off."""
        return self._settler.later.stuck

    def overstaying(self, seconds: float) -> int:
        """Runs that have not ended within `seconds` after their time limit."""
        since = self._loop.time() - seconds
        runs = (taken.run for taken in self._tasks.values())
        return sum(1 for run in runs if run is not None and run.overdue_since is not None and run.overdue_since < since)

    @property
    def subscribed(self) -> bool:
        """Whether the broker counts us as a consumer."""
        return self._subscription.active

    @property
    def unsubscribed(self) -> bool:
        """Whether the broker does not count us, and has to: one that holds all it may need not be counted."""
        return not self.subscribed and self.credit > 0

    @property
    def reachable(self) -> bool:
        """Whether the broker can be used, as far as it knows: then we should be subscribed."""
        return self._broker.unready() is None

    def figures(self) -> QueueFigures:
        """The figures for the controller."""
        now = self._tools.clock.steady()
        told = self._tally.figures(self.held, now, paused=self.blind or self.stuck, cordoned=self._cordoned)
        takes = self._begins and not self.paused and self._subscription.active
        free = max(0, self._concurrency - len(self._tasks)) if takes else 0
        return replace(told, free=free, waited=self._loop.time() - self._waiting[0].since if self._waiting else 0.0)

    async def depth(self) -> Depth:
        return await self._broker.depth(self.queue)

    async def start(self) -> None:
        """Subscribe; with an outcome store, also to the dead-letter queue beside this one, and not before the store is there:
        what we cannot begin others may."""
        if self._ledger is not None:
            self._ledger.changed.append(self._follow_store)
            if not self._ledger.up:
                self._paused.set(1)
                return
        await self._subscribe()

    async def cordon(self) -> None:
        """Take nothing more and requeue deliveries that have not begun; running ones go on.

        Deliveries that the broker sent before it got the cancellation begin where a slot is free, as in a drain.
        """
        self._cordoned = True
        await _all(s.pause() for s in self._subscriptions())
        self._hand_back_waiting(lambda _: True)

    async def uncordon(self) -> None:
        self._cordoned = False
        await self._resume()

    async def take_what_runs(self) -> None:
        """Hold no more than can run, and requeue deliveries that wait for a slot; running ones go on."""
        if self._concurrency >= self._most:
            return
        self._most = self._concurrency
        self._subscription.limit(self._most)
        await _all([self._subscription.pause()])
        while self._waiting:
            self._settler.hand_back(self._waiting.popleft())
        await self._resume()

    async def take_ahead(self) -> None:
        """Hold as much as the settings say."""
        self._most = self._prefetch
        self._subscription.limit(self._most)
        await self._resume()

    async def _resume(self) -> None:
        if not self.blind:
            await self._subscribe()

    async def finish(self) -> None:
        """Take no other delivery, now or later; held ones stay. The broker's dead letters are moved as before."""
        self._finished = True
        await _all([self._subscription.pause()])

    def go_on(self) -> None:
        """Let the deliveries that we have begin, and requeue those that came beside them."""
        self._begin_or_not()
        self._hand_back_late()

    async def drain(self, seconds: float) -> None:
        """Take nothing more, hand back what has not begun, let what runs end within `seconds`, hand back the rest.

        Deliveries that the broker sent before it got the cancellation still begin where a slot is free: a consumer
        that is removed at little load would else requeue a job now and then. However a
        handler takes its end, this ends within `seconds` and some 50 s.
        """
        self._draining = True
        await _all(s.pause() for s in self._subscriptions())
        self._drained = True
        self._begin_or_not()
        self._hand_back_waiting(lambda _: True)
        for taken in self._tasks.values():
            if taken.stage is Stage.PUTTING_OFF:
                taken.end_early(Stop.DRAIN)
        moving = asyncio.ensure_future(_nothing() if self._given_up is None else self._given_up.drain(seconds))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
            await self._end_the_late(seconds)
        await moving
        await _all(s.close() for s in self._subscriptions())
        self._way.close()

    def hand_back_overdue(self) -> None:
        """Requeue deliveries that have waited until the broker would take the channel away before their runs could end."""
        settings = self._tools.settings
        if settings.hold_limit is not None:
            limit = max(0.0, settings.hold_limit - self._tools.registry.longest_limit([self.queue])[0])
            now = asyncio.get_running_loop().time()
            self._hand_back_waiting(lambda taken: now - taken.since > limit)

    async def _end_the_late(self, drained: float) -> None:
        if not self._tasks:
            return
        _log.warning("handing back what did not end in time", queue=self.queue, deliveries=len(self._tasks), drain_s=drained)
        if self._ledger is not None:
            self._ledger.wait_no_longer()
        for taken in self._tasks.values():
            taken.end_early(Stop.DRAIN)
        await asyncio.wait(self._tasks, timeout=_LAST_WAIT)
        for taken in self._tasks.values():
            _log.error("a run did not end when it was cancelled: leaving it", queue=self.queue, stage=taken.stage.value)
            if taken.stage is not Stage.SETTLING:
                self._settler.hand_back(taken)

    def _hand_back_waiting(self, which: Callable[[Taken], bool]) -> None:
        for waiting in (self._waiting, self._suspects, self._late):
            kept = []
            for taken in waiting:
                if which(taken):
                    self._settler.hand_back(taken)
                else:
                    kept.append(taken)
            waiting.clear()
            waiting.extend(kept)
        self._say_when_settled()

    def _follow_store(self, up: bool) -> None:
        self._paused.set(0 if up else 1)
        self._begin_or_not()
        if not up or self._draining or self._cordoned:
            return
        if (self._starting is None or self._starting.done()) and not self.subscribed:
            self._starting = asyncio.get_running_loop().create_task(self._subscribe())

    async def _subscribe(self) -> None:
        if not self._draining and not self._cordoned:
            await _all(s.resume() for s in self._subscriptions() if not (self._finished and s is self._subscription))

    def _subscriptions(self) -> list[Subscription]:
        return [self._subscription] if self._given_up is None else [self._subscription, self._given_up.subscription]

    # -------------------------------------------------------------------------------------------------- from the broker

    def _deliver(self, delivery: Delivery) -> None:
        self.arrived += 1
        taken = Taken(self._subscription, delivery, self._loop.time(), self._tools.clock.wall())
        if self._once is not None:
            if not self._once.take():
                self._late.append(taken)
                self._hand_back_late()
                return
            self._has_the_one = True
        waiting = self._suspects if self._is_suspect(taken) else self._waiting
        waiting.append(taken)
        while len(waiting) > self._most:
            # More than the broker gives at once: the oldest came by a connection that has died, and were handed out again.
            self._settler.hand_back(waiting.popleft())
        self._fill()

    def _is_suspect(self, taken: Taken) -> bool:
        """Whether its last run ended with its process. Without claims all that tells is that the broker handed it out before."""
        envelope = taken.readable
        return envelope is not None and (envelope.crashes > 0 or (self._ledger is None and taken.delivery.count > 0))

    def _fill(self) -> None:
        if self._suspects and self._has_slot():
            self._tools.suspects.ask(self._begin_suspect)
        while self._waiting and self._has_slot():
            self._begin(self._waiting.popleft())

    def _has_slot(self) -> bool:
        return self._begins and len(self._tasks) < self._concurrency

    def _begin_or_not(self) -> None:
        """Something has changed that runs are begun by."""
        may = self._once is None or self._once.closed
        self._begins = may and not self._drained and not self.stuck and (self._ledger is None or self._ledger.up)
        self._fill()

    def _begin_suspect(self) -> bool:
        """It is the turn of this queue. False: there is none to begin, or no slot for it."""
        if not self._suspects or not self._has_slot():
            return False
        taken = self._suspects.popleft()
        taken.suspect = True
        self._begin(taken)
        return True

    def _begin(self, taken: Taken) -> None:
        task = self._loop.create_task(self._way.work(taken))
        self._tasks[task] = taken
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        taken = self._tasks.pop(task)
        if task.cancelled() or task.exception() is not None:  # by somebody else, before its first step or after its last
            self._settler.hand_back(taken)
        if taken.suspect:
            self._tools.suspects.ended()
        self._say_when_settled()
        self._fill()

    def _hand_back_late(self) -> None:
        """Not while the broker could give it to us again: it counts how often."""
        while self._late and self._once is not None and self._once.closed:
            self._settler.hand_back(self._late.popleft())

    def _say_when_settled(self) -> None:
        if self._once is not None and self._has_the_one and not self.held:
            self._once.settled()


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    """Wait for all, for a bounded time; a failure is logged, and the others go on."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.wait(tasks, timeout=_ANSWER_WITHIN)
    finally:
        for task in tasks:
            task.cancel()  # which those that have ended do not feel
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a subscription could not be changed", why=logs.brief(error))


async def _nothing() -> None: ...
