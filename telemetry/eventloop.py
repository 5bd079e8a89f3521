"""How late the event loop is."""

from __future__ import annotations

import asyncio

from telemetry import metrics
from telemetry.supervisor import Beat

INTERVAL = 0.5


async def watch(beat: Beat = lambda: None) -> None:
    """Observe the loop's lag every half second, for ever: for a Supervisor."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))
        beat()
