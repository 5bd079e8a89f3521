"""The traffic of a demo: users register, and each job is followed to its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp

from cli.population import User
from cli.tally import DELIVERIES, Tally
from core.clock import from_rfc3339
from core.errors import HeadraceError

CONNECTIONS = 32
_FINAL = ("succeeded", "dead", "cancelled")


class Traffic:
    """Submits and follows, `CONNECTIONS` at a time each. half_way: called once half of the users are accepted."""

    def __init__(self, url: str, people: list[User], tally: Tally, half_way: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self._people = people
        self._tally = tally
        self._half_way = half_way
        self._ids: asyncio.Queue[str | None] = asyncio.Queue(len(people) + CONNECTIONS)

    async def run(self) -> None:
        """Returns when every job has ended."""
        async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(10.0)) as client:
            following = [asyncio.create_task(self._follow(client)) for _ in range(CONNECTIONS)]
            try:
                todo = iter(self._people)
                await asyncio.gather(*(self._submit_from(todo, client) for _ in range(CONNECTIONS)))
                for _ in following:
                    self._ids.put_nowait(None)
                await asyncio.gather(*following)
            finally:
                for task in following:
                    task.cancel()
                await asyncio.gather(*following, return_exceptions=True)

    async def _submit_from(self, todo: Iterator[User], client: aiohttp.ClientSession) -> None:
        for user in todo:
            self._ids.put_nowait(await _submit(client, user))
            self._tally.accepted += 1
            if self._tally.accepted == len(self._people) // 2:
                self._half_way()

    async def _follow(self, client: aiohttp.ClientSession) -> None:
        while (job_id := await self._ids.get()) is not None:
            deliveries, accepted = await _ended(client, job_id)
            self._tally.end(deliveries)
            if all(d["state"] == "succeeded" for d in deliveries):
                self._tally.latencies.append(max(from_rfc3339(d["ended_at"]) for d in deliveries) - from_rfc3339(accepted))


async def _submit(client: aiohttp.ClientSession, user: User) -> str:
    """Until it is accepted. The key makes each try the same job, so that an answer that got lost does no harm."""
    pause = 0.2
    while True:
        try:
            headers = {"Idempotency-Key": f"demo-{user.user_id}"}
            async with client.post("/v1/jobs/user.registered", json=user.payload, headers=headers) as answer:
                if answer.status == 202:
                    return str((await answer.json())["job_id"])
                if answer.status < 500:
                    raise HeadraceError(f"the gateway refused a user: {await answer.text()}")
                asked = float(answer.headers.get("Retry-After", "0"))
        except (aiohttp.ClientError, TimeoutError):
            asked = 0.0
        await asyncio.sleep(max(asked, pause) * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 5.0)


async def _ended(client: aiohttp.ClientSession, job_id: str) -> tuple[list[dict[str, Any]], str]:
    """A job's deliveries once all have ended, and when it was accepted."""
    pause = 0.1
    while True:
        try:
            async with client.get(f"/v1/jobs/{job_id}") as answer:
                job = await answer.json() if answer.status == 200 else {"deliveries": []}
            deliveries = job["deliveries"]
            if len(deliveries) == DELIVERIES and all(d["state"] in _FINAL for d in deliveries):
                return deliveries, job["accepted_at"]
        except (aiohttp.ClientError, TimeoutError):
            pause = 1.0
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 1.5, 1.0)
