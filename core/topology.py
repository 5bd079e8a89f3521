"""Names of exchanges and queues, and which job type goes where. Arithmetic and strings only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from core.retry import MAX_DELAY

EXCHANGE = "jobs"
DEAD_SUFFIX = ".dead"
DELAY_LEVELS = 22


@dataclass(frozen=True)
class Topology:
    """bindings: job type → the queues that receive it."""

    bindings: Mapping[str, tuple[str, ...]]

    @cached_property
    def queues(self) -> tuple[str, ...]:
        """Every queue, each once, in the order in which the contracts name them. Dead-letter queues not included."""
        return tuple(dict.fromkeys(queue for queues in self.bindings.values() for queue in queues))


def dead_queue(queue: str) -> str:
    """The queue beside `queue` that gets what the broker itself gives up."""
    return queue + DEAD_SUFFIX


def delay_seconds(delay: float) -> int:
    """The whole seconds that the ladder waits for `delay` seconds: never fewer, so that no retry is early."""
    return math.ceil(min(max(delay, 0.0), MAX_DELAY))


def delay_key(delay: float, queue: str) -> str:
    """The ladder's routing key: the delay's 22 bits, highest first, then the queue (NServiceBus' delay infrastructure)."""
    return ".".join(f"{delay_seconds(delay):0{DELAY_LEVELS}b}") + "." + queue


def delay_exchange(level: int) -> str:
    """The exchange of one rung, and also the name of its queue; level n waits 2**n seconds."""
    return f"jobs.delay.{level:02d}"


DELAY_ARRIVAL = "jobs.delay.arrived"
# Behind it: whose queue is there goes to its queue; else to the queue LOST, through the exchange of that name.
DELAY_DUE = "jobs.delay.due"
DELAY_LOST = "jobs.delay.lost"


def delayed_for(key: str) -> str:
    """The queue of a `delay_key`."""
    return key.split(".", DELAY_LEVELS)[-1]
