"""Faults that the RabbitMQ adapter has had, put into the same place of the simulated one, or into the supervisor of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from adapters.simulated.publisher import Publisher
from adapters.simulated.subscription import Hold
from consumer.runtime import QueueRuntime
from telemetry.supervisor import Supervised
from tests.simulation.mutants import exchanged, mutant

_keep = Supervised._keep


def _once(name: str, ends: Callable[[asyncio.Task[None]], bool]) -> Callable[[Any], Awaitable[None]]:
    """A keeper that, of loops called `name...`, does not begin those again that end as `ends` says."""

    async def keep(self: Any) -> None:
        if not self.name.startswith(name):
            await _keep(self)
            return
        while not self._stopping:
            child = asyncio.get_running_loop().create_task(self._work(self._beat))
            try:
                await asyncio.wait({child})
            finally:
                child.cancel()
            if ends(child):
                return
            await asyncio.sleep(0.1)

    return keep


@mutant
def link_loop_ended() -> Iterator[None]:
    """A call that ends with an unforeseen error ends the link's loop: the connection is never made again.

    In the supervisor's place: the adapter had its own task for it, which had no supervisor.
    """
    with exchanged(Supervised, "_keep", _once("link", lambda child: True)):
        yield


@mutant
def subscription_ended_by_a_foreign_cancel() -> Iterator[None]:
    """A library ends a pending call with a CancelledError; the subscription takes it for its own end, and the queue is consumed
    no more. In the supervisor's place, as above."""
    with exchanged(Supervised, "_keep", _once("subscription", lambda child: child.cancelled())):
        yield


@mutant
def confirms_shifted_by_one() -> Iterator[None]:
    """A message that could not be packed was counted: from then on each confirm is taken for the message after.

    In the simulated adapter's table of confirms, at its fifth message.
    """
    right = Publisher.next_tag

    def shifted(self: Publisher) -> int:
        tag = right(self)
        return right(self) if tag == 5 else tag

    with exchanged(Publisher, "next_tag", shifted):
        yield


@mutant
def prefetch_taken_twice() -> Iterator[None]:
    """A subscription that is taken up again asks for its whole prefetch, though it still holds what the consumer before gave it:
    the server counts each consumer for itself. In the simulated adapter's subscription; and the runtime, which does so no more,
    gives its consumers up while the store is unavailable."""

    def free(self: Hold, prefetch: int) -> int:
        return 0 if self.consumers else prefetch

    def follow(self: QueueRuntime, up: bool) -> None:
        if not self._draining:
            changes = [s.resume() if up else s.pause() for s in self._subscriptions()]
            self._following = asyncio.gather(*changes)  # type: ignore[attr-defined]  # kept from the garbage collector
            self._fill()

    with exchanged(Hold, "free", free), exchanged(QueueRuntime, "_follow_store", follow):
        yield
