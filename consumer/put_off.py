"""Deliveries that come back later. While the broker takes none of them, they are held here, and nothing new is begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from consumer.taken import Stage, Taken
from core.chance import Chance
from core.envelope import Envelope
from core.errors import BrokerError
from core.ports import Message
from telemetry import logs

_log = logs.get("consumer.settle")

# Full jitter up to 0.5 s, 1 s ... 10 s.
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 10.0


class PutOff:
    """Puts the deliveries of one queue off.

    hold: seconds since a delivery came for which it may be held; None is for as long as it takes.
    hand_back: called with one that could not be put off. changed: called when `stuck` may have changed.
    """

    def __init__(self, queue: str, chance: Chance, hold: float | None, hand_back: Callable[[Taken], None]) -> None:
        self._queue = queue
        self._chance = chance
        self._hold = hold
        self._hand_back = hand_back
        self._stuck = 0
        self.changed: Callable[[], None] = lambda: None

    @property
    def stuck(self) -> bool:
        """Whether the broker could not be given one that we hold. To run more would be to hold more."""
        return self._stuck > 0

    async def put_off(self, taken: Taken, envelope: Envelope, delay: float) -> None:
        """Let it come back after `delay` seconds, as `envelope` says.

        Handing it back instead would bring it here again at once, and count towards the broker's delivery limit: that is only for
        a drain, and for when the broker would soon take the channel away.
        """
        taken.stage = Stage.PUTTING_OFF
        message = Message(
            job_id=envelope.job_id,
            job_type=envelope.job_type,
            headers=envelope.headers(),
            body=taken.delivery.body,
            queue=self._queue,
            delay=delay,
            priority=envelope.priority,
        )
        try:
            await taken.subscription.postpone(taken.delivery, message)
        except BrokerError as error:
            await self._again(taken, message, error)

    async def _again(self, taken: Taken, message: Message, error: BrokerError) -> None:
        _log.warning("a delivery cannot be put off: holding it", job_id=message.job_id, queue=self._queue, why=logs.brief(error))
        self._stuck += 1
        self.changed()
        try:
            if not await self._until_done(taken, message):
                self._hand_back(taken)
        finally:
            self._stuck -= 1
            self.changed()

    async def _until_done(self, taken: Taken, message: Message) -> bool:
        pause = _FIRST_PAUSE
        while await taken.wait(self._chance.uniform(0.0, pause)) and not self._too_long(taken):
            try:
                await taken.subscription.postpone(taken.delivery, message)
            except BrokerError:
                pause = min(pause * 2, _LAST_PAUSE)
            else:
                return True
        return False

    def _too_long(self, taken: Taken) -> bool:
        return self._hold is not None and asyncio.get_running_loop().time() - taken.since > self._hold
