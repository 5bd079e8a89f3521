"""Does nothing, and lets everybody see what would have been done."""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.ports import Actuator, Workload
from telemetry import logs

_log = logs.get("autoscaler.dry_run")


class DryRun:
    """Around another actuator, which it asks and never tells."""

    def __init__(self, real: Actuator) -> None:
        self._real = real

    async def open(self) -> None:
        await self._real.open()

    async def close(self) -> None:
        await self._real.close()

    def seen(self, workload: str) -> Workload | None:
        return self._real.seen(workload)

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        _log.info("would scale", workload=workload, replicas=replicas, first_to_go=list(idlest)[:5], why=why)
