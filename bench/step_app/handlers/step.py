"""A tenth of a second of waiting. At its end the process publishes what its jobs waited, as bench/step_worker.py does."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator

import aiormq

from bench.step_app.contracts.step import Step
from consumer import Context, handler, resource

SECONDS = float(os.environ.get("STEP_SECONDS", "0.1"))


class Waits:
    """waits: jobs by tenths of a second waited. begun_again: runs that were not the first of their job in this process."""

    def __init__(self) -> None:
        self.first, self.settled, self.wait_sum = 0.0, 0, 0.0
        self.waits: dict[int, int] = {}
        self._begun: set[str] = set()
        self.begun_again = 0

    def begin(self, job_id: str, published: float) -> None:
        now = time.time()
        self.first = self.first or now
        self.begun_again += job_id in self._begun
        self._begun.add(job_id)
        waited = max(0.0, now - published)
        self.wait_sum += waited
        self.waits[int(waited * 10)] = self.waits.get(int(waited * 10), 0) + 1

    def told(self) -> bytes:
        told = {"pod": os.environ.get("HOSTNAME", ""), "first": self.first, "settled": self.settled, "wait_sum": self.wait_sum}
        told |= {"redelivered": self.begun_again, "handed_back": 0, "waits": self.waits, "cpu": sum(os.times()[:2])}
        return json.dumps(told).encode()


@resource
async def open_waits() -> AsyncIterator[Waits]:
    waits = Waits()
    yield waits
    connection = await aiormq.connect(os.environ["STEP_BROKER"])
    channel = await connection.channel()
    await channel.basic_publish(waits.told(), routing_key=os.environ["STEP_RESULTS"])
    await connection.close()


@handler("step.job", queue="step")
async def step(job: Step, ctx: Context, waits: Waits) -> None:
    waits.begin(ctx.job_id, job.at)
    await asyncio.sleep(SECONDS)
    waits.settled += 1
