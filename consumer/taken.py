"""One delivery in our hands, and how far it is."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Protocol

from core.envelope import Envelope
from core.errors import EnvelopeError
from core.ports import Delivery, Subscription
from core.text import text_of


class Stop(Enum):
    """Why we ourselves end the work on a delivery early."""

    DRAIN = "drain"
    LOST = "lost"  # its claim was taken over


class Stage(Enum):
    """Where a delivery is on its way."""

    WAITING = "waiting"  # for a slot
    CLAIMING = "claiming"
    RUNNING = "running"
    SETTLING = "settling"  # its outcome is under way: nothing may overtake it
    PUTTING_OFF = "putting off"


class Breakable(Protocol):
    """A run that can be ended from outside.

    overdue_since: when it was past its time limit, in seconds of the loop's clock; None: it is not.
    """

    overdue_since: float | None

    def break_off(self) -> None:
        """Make it end now. Asked for by the runtime alone."""


class Taken:
    """A delivery of the broker.

    queue: whose delivery it is; a dead-letter queue holds those of another.
    envelope: what its headers say, or why they cannot be read; readable: the same, or None. since: when it came, in seconds of
    the loop's clock.
    stop: set when we end its work early. A cancellation without it comes from elsewhere, and is an error.
    run: the run that is under way.
    """

    __slots__ = (
        "_stopped",
        "delivery",
        "envelope",
        "queue",
        "readable",
        "run",
        "since",
        "stage",
        "stop",
        "subscription",
        "suspect",
    )

    def __init__(self, subscription: Subscription, delivery: Delivery, since: float, now: float, queue: str | None = None) -> None:
        self.subscription = subscription
        self.delivery = delivery
        self.queue = queue or delivery.queue
        self.since = since
        self.stage = Stage.WAITING
        self.stop: Stop | None = None
        self.run: Breakable | None = None
        self.suspect = False
        self._stopped: asyncio.Future[None] | None = None
        self.envelope: Envelope | EnvelopeError
        self.readable: Envelope | None = None
        try:
            self.envelope = self.readable = Envelope.read(delivery.headers, now)
        except EnvelopeError as error:
            self.envelope = error
        except Exception as error:  # headers are anybody's
            self.envelope = EnvelopeError(f"the headers cannot be read: {text_of(error, 200)}")

    def lose(self) -> None:
        """Its claim was taken over."""
        self.end_early(Stop.LOST)

    def end_early(self, why: Stop) -> None:
        """Break off its run, or its waiting. An outcome that is under way goes on; a claim's answer is awaited."""
        self.stop = self.stop or why
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        if self.run is not None:
            self.run.break_off()

    async def wait(self, seconds: float) -> bool:
        """Wait. False, and at once, when its work is to end early."""
        if self.stop is None:
            self._stopped = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._stopped}, timeout=seconds)
        return self.stop is None
