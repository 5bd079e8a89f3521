"""Jobs that wait in a replica behind long ones while another replica has a free slot: whether there are any. No I/O.

A consumer takes deliveries ahead, so that the next is there when a handler ends. Where one runs for minutes, those behind it wait
for minutes, and no other consumer can have them. A consumer sees its own slots alone; the controller sees those of all. It asks all
replicas of the queue to take nothing ahead for a while: then waiting jobs are in the broker, which gives each to a replica that can
run it. Each job goes back once, and no replica that is full takes it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Seconds. Jobs that end sooner free a slot sooner than going back would take.
PATIENCE: Final = 2.0
# For this number of seconds nothing is taken ahead, give or take a quarter, so that not all replicas begin again at once.
LEASE: Final = 30.0
JITTER: Final = 0.25
# Replicas that did not answer, or are new, are asked again after this number of seconds.
AGAIN: Final = 5.0


def misplaced(replicas: Iterable[tuple[float, int]]) -> bool:
    """replicas: the seconds that the oldest of what was taken ahead has waited there, and the free slots."""
    told = list(replicas)
    return any(waited > PATIENCE for waited, _ in told) and any(free > 0 for _, free in told)
