"""A bounded, steady load, sent as a real client does: with an Idempotency-Key, and again after a 503."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.harness.system import PUBLISH_TIMEOUT, STORE_TIMEOUT

# Of work.both, one job in ten takes long enough to be in mid-run when something breaks.
_QUICK, _LONG = 0.05, 2.0  # seconds
_PATIENCE = 90.0  # seconds for which a client goes on to ask, from its first request


# A client waits for the bound of the settings, and this number of seconds more, for a machine that is busy with other tests.
_MARGIN = 8.0
_BOUNDS = {"POST": PUBLISH_TIMEOUT + _MARGIN, "GET": STORE_TIMEOUT + _MARGIN}


@dataclass(frozen=True, slots=True)
class Answer:
    """at: Unix seconds at which it was asked for. status: 0 is a connection that broke, or no answer within its bound."""

    at: float
    status: int
    method: str
    said: str = ""


@dataclass(slots=True)
class Job:
    n: int
    job_type: str
    begun: float
    job_id: str | None = None
    accepted: float | None = None


@dataclass
class Load:
    """name: of the load, in keys and payloads. rate: jobs a second. types: taken in turn."""

    url: str
    name: str
    rate: float
    types: tuple[str, ...]
    jobs: list[Job] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and until every job is accepted or given up."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.url, connector=connector) as client, asyncio.TaskGroup() as group:
            group.create_task(self._look(client, stop))
            while not stop.is_set():
                job = Job(len(self.jobs), self.types[len(self.jobs) % len(self.types)], time.time())
                self.jobs.append(job)
                group.create_task(self._submit(client, job))
                await asyncio.sleep(1.0 / self.rate)

    async def _submit(self, client: aiohttp.ClientSession, job: Job) -> None:
        body = {"run": self.name, "n": job.n, "seconds": _LONG if job.n % 10 == 3 else _QUICK}
        headers = {"Idempotency-Key": f"{self.name}-{job.n}"}
        while time.time() < job.begun + _PATIENCE:
            status, document = await self._ask(client, "POST", f"/v1/jobs/{job.job_type}", json=body, headers=headers)
            if status == 202:
                job.job_id, job.accepted = document["job_id"], time.time()
                return
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _look(self, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """Once a second, ask what became of one of the jobs."""
        while not stop.is_set():
            known = [job for job in self.jobs if job.job_id]
            if known:
                await self._ask(client, "GET", f"/v1/jobs/{random.choice(known).job_id}")
            await asyncio.sleep(1.0)

    async def _ask(self, client: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, dict[str, str]]:
        at, timeout = time.time(), aiohttp.ClientTimeout(_BOUNDS[method])
        try:
            async with client.request(method, path, timeout=timeout, **more) as answer:
                status, document = answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            status, document = 0, {"detail": repr(error)}
        self.answers.append(Answer(at, status, method, str(document.get("detail", ""))[:200]))
        return status, document
