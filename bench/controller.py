"""300 queues on one controller: what a tick costs, and how much memory it takes. `make bench-controller`.

Signals, actuator and journal are doubles within the process, so that the figures are those of the controller: observing, deciding,
recording, its loops and metrics. The figures that it sees are new in every tick, and a workload is scaled every now and then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import structlog
import uvloop

from autoscaler.alerts import Alerts
from autoscaler.controller import Controller, WorkloadController
from autoscaler.cordons import Cordons
from autoscaler.leadership import Always
from autoscaler.model import Figure, Policy
from autoscaler.ports import Replica, Sighting, Workload
from autoscaler.recorder import Recorder
from autoscaler.runs import Runs
from autoscaler.watchers import Watchers
from core.clock import SystemClock
from core.journal import ScalingRecord

QUEUES = 300
INTERVAL = 2.0
TICKS = 30
REPLICAS = 20
CLOCK = SystemClock()


class Depths:
    """Depths that wander, new at each look. looks: how many there were."""

    name = "depths"

    def __init__(self) -> None:
        self.ready = {f"queue{n}": 100.0 * (n % 40) for n in range(QUEUES)}
        self.looks = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        self.looks += 1
        at = CLOCK.steady()
        for queue in queues:
            self.ready[queue] = max(0.0, self.ready[queue] + random.uniform(-200, 220))
        return {queue: Sighting({"ready_jobs": Figure(self.ready[queue], at)}) for queue in queues}


class Consumers:
    """Every figure that consumers tell."""

    name = "consumers"

    def __init__(self) -> None:
        self.completed = 0.0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        at = CLOCK.steady()
        self.completed += 100.0
        values = {"completed": self.completed, "busy_seconds": self.completed / 10, "in_flight": 5.0, "unacked": 9.0}
        values |= dict.fromkeys(("wait_mean", "wait_p95", "handler_mean", "handler_p95"), 0.1)
        return {queue: Sighting({name: Figure(value, at) for name, value in values.items()}) for queue in queues}


class Counters:
    """The answers of a management API."""

    name = "counters"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def look(self, queues: Sequence[str]) -> Mapping[str, Sighting]:
        at = CLOCK.steady() - 5.0
        return {queue: Sighting({"published": Figure(at * 50, at), "unacked": Figure(9.0, at)}) for queue in queues}


class Fleet:
    """Workloads of some replicas each. scaled: how often one was."""

    def __init__(self) -> None:
        self.asked = dict.fromkeys((f"work{n}" for n in range(QUEUES)), REPLICAS)
        self.scaled = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def seen(self, workload: str) -> Workload | None:
        asked = self.asked[workload]
        return Workload(workload, asked, tuple(Replica(f"{workload}-{n}", True) for n in range(asked)), CLOCK.steady())

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        self.asked[workload] = replicas
        self.scaled += 1


class Sink:
    """A journal that encodes and forgets. records: how many there were."""

    def __init__(self) -> None:
        self.records = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def append(self, records: Sequence[ScalingRecord]) -> None:
        self.records += len([orjson.dumps(record) for record in records])

    async def latest(self) -> list[ScalingRecord]:
        return []

    async def tail(self, queue: str, limit: int) -> list[ScalingRecord]:
        return []

    async def remember(self, states: dict[str, str]) -> None: ...

    async def recall(self, queue: str) -> tuple[str, float] | None:
        return None


async def measure() -> dict[str, float | int]:
    depths, fleet, sink = Depths(), Fleet(), Sink()
    watchers = Watchers([depths, Consumers(), Counters()], list(depths.ready), CLOCK, INTERVAL)
    recorder, alerts, policy = Recorder(sink), Alerts([], CLOCK), Policy(max_replicas=100)

    def workload(n: int) -> WorkloadController:
        rest = (watchers, fleet, recorder, alerts, Cordons(Runs(), None, CLOCK, 25.0), CLOCK)
        return WorkloadController(f"work{n}", {f"queue{n}": policy}, *rest, dry_run=False, trace_url="")

    controller = Controller([workload(n) for n in range(QUEUES)], watchers, Always(), CLOCK, INTERVAL)
    await recorder.open()
    await watchers.open()
    await controller.open()
    await asyncio.sleep(2 * INTERVAL)
    looks, began, cpu = depths.looks, time.monotonic(), time.process_time()
    await asyncio.sleep(TICKS * INTERVAL)
    spent, passed, ticks = time.process_time() - cpu, time.monotonic() - began, depths.looks - looks
    for part in (controller, watchers, recorder, alerts):
        await part.close()
    return {
        "queues": QUEUES,
        "ticks": ticks,
        "cpu_seconds_a_tick": round(spent / ticks, 4),
        "cores": round(spent / passed, 3),
        "decisions_a_queue_a_tick": round(sink.records / QUEUES / (ticks + 2), 2),
        "scalings": fleet.scaled,
        "memory_mib": round(resident_mib(), 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures = uvloop.run(measure())
    print(json.dumps(figures))
    if figures["cpu_seconds_a_tick"] > 1.0 or figures["peak_memory_mib"] > 150:
        raise SystemExit("the goal is missed: under 1 s of CPU a tick, under 150 MiB")


if __name__ == "__main__":
    main()
