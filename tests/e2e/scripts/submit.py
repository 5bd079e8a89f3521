"""Submits COUNT jobs as fast as they are confirmed, or RATE a second; tries again what is not, with the same key.

Prints what came, as JSON: accepted, answers by status, began and ended (Unix time), what was never accepted, the first requests
that were not answered (Unix time of the attempt, seconds until its end, and why), how often a first packet was sent again, and for
how many seconds at most this process did not come to run.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

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


def sent_again() -> int:
    """Of connections of all processes of this pod (TCPSynRetrans of netstat)."""
    names, values = (line.split() for line in Path("/proc/net/netstat").read_text().splitlines()[:2])
    return int(values[names.index("TCPSynRetrans")])


async def watch(stalls: list[float]) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.05)
        stalls[0] = max(stalls[0], time.monotonic() - before - 0.05)


async def one(session: aiohttp.ClientSession, n: int, answers: dict[str, int], failed: list[tuple[float, float, str]]) -> bool:
    body = json.dumps({"run": RUN, "n": n, "seconds": SECONDS})
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while time.monotonic() < deadline:
        began = time.time()
        try:
            async with session.post(f"/v1/jobs/{JOB_TYPE}", data=body, headers={**HEADERS, "Idempotency-Key": f"{RUN}-{n}"}) as got:
                status = str(got.status)
                await got.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status = type(error).__name__
            failed.append((round(began, 2), round(time.time() - began, 2), repr(error)))
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
    failed: list[tuple[float, float, str]] = []
    before, stalls = sent_again(), [0.0]
    watching = asyncio.create_task(watch(stalls))
    began, left = time.time(), iter(range(FIRST, FIRST + COUNT))
    unaccepted: list[int] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for n in left:
            if RATE:
                await asyncio.sleep(max(0.0, began + (n - FIRST) / RATE - time.time()))
            if not await one(session, n, answers, failed):
                unaccepted.append(n)

    # A connection that was not used for 3 s is not used again: a gateway that ends keeps it for longer.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    # A first packet may have to be sent again after 1 s, 3 s and 7 s: where a program enforces policies, it waits for that one.
    timeout = aiohttp.ClientTimeout(total=15, sock_connect=10)
    async with aiohttp.ClientSession(URL, timeout=timeout, connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(64)))
    watching.cancel()
    told = {
        "accepted": COUNT - len(unaccepted),
        "unaccepted": unaccepted[:20],
        "answers": answers,
        "failed": failed[:20],
        "sent_again": sent_again() - before,
        "stalled": round(stalls[0], 2),
        "began": began,
        "ended": time.time(),
    }
    print(json.dumps(told))


asyncio.run(main())
