"""A consumer whose handlers are hostile: `python -m tests.chaos.hostile`. RUNS names a file that gets a line for each run."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consumer import Context, handler
from consumer.app import Consumer, check_limits
from consumer.program import serve
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core.catalogue import Catalogue
from core.model import Contract
from core.retry import RetryPolicy
from core.settings import load
from telemetry import logs


class Order(BaseModel):
    do: str
    n: float = 0.0


# As many attempts as by default; shorter pauses.
RETRY = RetryPolicy(base=0.2, cap=1.0)
CONTRACTS = [
    Contract("co.run", Order, ("co",), RETRY, time_limit=300.0),
    Contract("th.run", Order, ("th",), RETRY, time_limit=300.0),
]


def note(order: Order, ctx: Context) -> None:
    line = f"{ctx.job_id} {ctx.attempt} {order.do} {os.getpid()}\n"
    descriptor = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@handler("co.run", queue="co")
async def coroutine(order: Order, ctx: Context) -> Any:
    note(order, ctx)
    match order.do:
        case "sleep":
            await asyncio.sleep(order.n)
        case "kill":
            await asyncio.sleep(order.n)
            os.kill(os.getpid(), signal.SIGKILL)
        case "swallow":
            while True:
                try:
                    await asyncio.sleep(0.2)
                except asyncio.CancelledError:
                    continue
        case "leave a task that exits":
            ctx.log.info("leaving", task=asyncio.get_running_loop().create_task(_exit()).get_name())
            await asyncio.sleep(order.n)
    return order.do


@handler("th.run", queue="th")
def function(order: Order, ctx: Context) -> Any:
    note(order, ctx)
    match order.do:
        case "pool":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(abs, [-1, -2])
        case "child":
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
            child.terminate()
            child.join(10)
            return child.exitcode
        case "for ever":
            while True:
                time.sleep(0.2)
        case "exhaust":
            return next(iter(()))
    return order.do


async def _exit() -> None:
    sys.exit(3)


def main() -> int:
    settings = load(ConsumerSettings)
    registry = Registry(Catalogue(CONTRACTS), [coroutine, function])
    check_limits(settings, registry, ["co", "th"])
    logs.configure("info", "json", "consumer")
    Path(os.environ["RUNS"]).touch()
    return serve(Consumer(settings, registry, ["co", "th"]).run())


if __name__ == "__main__":
    sys.exit(main())
