"""Deliveries that no consumer runs, taken from one of the broker's own queues and moved to where they belong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from consumer.execute import describe
from consumer.ledger import Ledger
from consumer.settle import Settler
from consumer.taken import Stop, Taken
from consumer.way import Tools, after_unpublished
from core.envelope import Envelope
from core.errors import BadRecord, BrokerError, StoreUnavailable
from core.model import Reason
from core.ports import Broker, Delivery, Failure, Message, Verdict
from telemetry import logs

_log = logs.get("consumer.mover")

# They are few; this many are moved at once.
PREFETCH = 20
# Of a delivery that still runs we ask again when its lease may be over, but within these seconds.
_LEAST_PAUSE, _MOST_PAUSE = 1.0, 30.0


def _never(_: BrokerError) -> bool:
    return False


class Mover:
    """Calls `move` in a task of its own for each delivery of `source`, again and again until it is settled or held for too long.

    It goes back as seldom as can be: RabbitMQ 4 drops what came back 20 times from a queue without a limit of its own.

    queue: whose deliveries they are; None: each names its own.
    """

    def __init__(
        self,
        source: str,
        queue: str | None,
        broker: Broker,
        ledger: Ledger,
        settler: Settler,
        tools: Tools,
        move: Callable[[Taken], Awaitable[None]],
    ) -> None:
        self.subscription = broker.subscribe(source, PREFETCH, self._deliver)
        self._broker = broker
        self._source = source
        self._queue = queue
        self._ledger = ledger
        self._settler = settler
        self._tools = tools
        self._hold = tools.settings.hold_limit
        self._move = move
        self._moving: dict[asyncio.Task[None], Taken] = {}

    async def drain(self, seconds: float) -> None:
        """Let the moves under way end within `seconds`; waiting messages are requeued at once."""
        for taken in self._moving.values():
            taken.end_early(Stop.DRAIN)
        if self._moving:
            await asyncio.wait(self._moving, timeout=seconds)

    async def bury(self, taken: Taken, unpublished: Callable[[Envelope, float], Awaitable[Envelope | None]]) -> None:
        """Make it a dead letter, by its claim: a job that is still running, or has ended by another message, becomes none.

        unpublished: called with the next run's envelope, and the seconds until it is due, where a retry was recorded and never
        published; it returns the envelope to claim with instead, or None when it has settled the delivery.
        """
        envelope = taken.readable
        if envelope is None:
            reason = taken.delivery.death or Reason.REJECTED
            return await self._settler.letters.bury(taken, reason, Failure("broker", f"the broker gave it up: {reason.value}"))
        while envelope is not None:
            claim = self._tools.claim(taken.queue, envelope)
            try:
                answer = await self._ledger.claim(claim, _nothing_runs)
                if answer.verdict.ours:
                    return await self._settler.given_up(taken, claim)
            finally:
                self._ledger.forget(claim.token)
            match answer.verdict:
                case Verdict.SETTLED | Verdict.STALE:
                    return self._settler.drop(taken)
                case Verdict.WAITING:
                    envelope = await unpublished(after_unpublished(taken, envelope), answer.seconds)
                case _:
                    if not await self.pause(taken, answer.seconds):
                        return self._settler.hand_back(taken)
        return None

    async def publish(self, taken: Taken, message: Message, useless: Callable[[BrokerError], bool] = _never) -> bool:
        """Put `message` in the place of what was taken. False: `useless` says so of the broker's answer.

        Until then it is tried again, and handed back when it may be held no longer.
        """
        while True:
            try:
                await self._broker.publish([message])[0]
            except BrokerError as error:
                if useless(error):
                    return False
                _log.warning("a retry cannot be published", job_id=message.job_id, queue=taken.queue, why=logs.brief(error))
                if not await self.pause(taken, 0.0):
                    self._settler.hand_back(taken)
                    return True
            else:
                taken.subscription.ack(taken.delivery)
                return True

    async def pause(self, taken: Taken, seconds: float) -> bool:
        """Wait until it may be otherwise. False: it shall not be held any longer."""
        pause = min(max(seconds, _LEAST_PAUSE), _MOST_PAUSE) * self._tools.chance.uniform(1.0, 1.2)
        held = asyncio.get_running_loop().time() - taken.since
        return (self._hold is None or held < self._hold) and await taken.wait(pause)

    def _deliver(self, delivery: Delivery) -> None:
        loop = asyncio.get_running_loop()
        taken = Taken(self.subscription, delivery, loop.time(), self._tools.clock.wall(), self._queue)
        task = loop.create_task(self._settled(taken))
        self._moving[task] = taken
        task.add_done_callback(self._moved)

    def _moved(self, task: asyncio.Task[None]) -> None:
        taken = self._moving.pop(task)
        if task.cancelled() or task.exception() is not None:
            self._settler.hand_back(taken)

    async def _settled(self, taken: Taken) -> None:
        seconds = _LEAST_PAUSE
        while True:
            try:
                try:
                    return await self._move(taken)
                except BadRecord as error:
                    return await self._settler.unusable(taken, error)
            except BaseException as error:
                why = logs.brief(error) if isinstance(error, StoreUnavailable) else f"{describe(error)}"
                _log.warning("a delivery cannot be moved: holding it", queue=self._source, why=why)
            if not await self.pause(taken, seconds):
                return self._settler.hand_back(taken)
            seconds *= 2


def _nothing_runs() -> None:
    """The claim is held for one outcome, and that is refused if it was taken over."""
