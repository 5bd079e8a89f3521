"""A failing schedule made short: events are left out while it still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.simulation.plan import Event

Fails = Callable[[Sequence[Event]], bool]


def shrunk(schedule: Sequence[Event], fails: Fails, most: int = 400) -> list[Event]:
    """The shortest that was found within `most` runs: halves are left out first, then single events (delta debugging)."""
    kept, size, runs = list(schedule), max(1, len(schedule) // 2), 0
    while True:
        smaller = False
        start = 0
        while start < len(kept) and runs < most:
            tried = kept[:start] + kept[start + size :]
            runs += 1
            if fails(tried):
                kept, smaller = tried, True
            else:
                start += size
        if runs >= most or (size == 1 and not smaller):
            return kept
        size = max(1, size // 2) if not smaller or size > 1 else 1
