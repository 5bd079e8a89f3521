"""Submits COUNT jobs as fast as they are confirmed, or RATE a second; tries again what is not, with the same key.

Prints what came, as JSON: accepted, answers by status, seconds, began and ended (Unix time), and what was never accepted.
"""

import asyncio
import json
import os
import random
import sys
import time

import aiohttp

URL, JOB_TYPE, RUN = sys.argv[1:4]
FIRST, COUNT, RATE, SECONDS, PATIENCE = (
    int(sys.argv[4]),
    int(sys.argv[5]),
    float(sys.argv[6]),
    float(sys.argv[7]),
    float(sys.argv[8]),
)
HEADERS = {"authorization": f"Bearer {os.environ['HEADRACE_API_KEY']}", "content-type": "application/json"}


async def one(session: aiohttp.ClientSession, n: int, answers: dict[str, int]) -> bool:
    body = json.dumps({"run": RUN, "n": n, "seconds": SECONDS})
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while time.monotonic() < deadline:
        try:
            async with session.post(f"/v1/jobs/{JOB_TYPE}", data=body, headers={**HEADERS, "Idempotency-Key": f"{RUN}-{n}"}) as got:
                status = str(got.status)
                await got.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status = type(error).__name__
        answers[status] = answers.get(status, 0) + 1
        if status == "202":
            return True
        if status.startswith("4"):
            return False
        await asyncio.sleep(random.uniform(0.05, pause))
        pause = min(2 * pause, 2.0)
    return False


async def main() -> None:
    answers: dict[str, int] = {}
    began, left = time.time(), iter(range(FIRST, FIRST + COUNT))
    unaccepted: list[int] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for n in left:
            if RATE:
                await asyncio.sleep(max(0.0, began + (n - FIRST) / RATE - time.time()))
            if not await one(session, n, answers):
                unaccepted.append(n)

    # A connection that was not used for 3 s is not used again: a gateway that ends keeps it for longer.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    timeout = aiohttp.ClientTimeout(total=15, sock_connect=3)
    async with aiohttp.ClientSession(URL, timeout=timeout, connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(64)))
    told = {
        "accepted": COUNT - len(unaccepted),
        "unaccepted": unaccepted[:20],
        "answers": answers,
        "began": began,
        "ended": time.time(),
    }
    print(json.dumps(told))


asyncio.run(main())
