"""Does the work of work.both and work.scaled: a line at the begin of each run, and one at its end."""

import asyncio
import os
import time
import uuid

import orjson

from app.contracts.work import Work
from consumer import Context, Permanent, RetryLater, handler

_FILE = os.open(os.environ["CHAOS_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(what: str, run: str, work: Work, ctx: Context) -> None:
    """One write of less than a page: lines of several processes do not mix."""
    line = {
        "at": time.time(),
        "what": what,
        "run": run,
        "load": work.run,
        "n": work.n,
        "queue": ctx.queue,
        "job_id": ctx.job_id,
        "attempt": ctx.attempt,
        "pid": os.getpid(),
    }
    os.write(_FILE, orjson.dumps(line) + b"\n")


async def _work(work: Work, ctx: Context) -> None:
    run = uuid.uuid4().hex
    note("begin", run, work, ctx)
    if work.refuses:
        raise Permanent("it was asked to")
    if work.later and ctx.attempt == 1:
        raise RetryLater(work.later)
    await asyncio.sleep(work.seconds)
    note("end", run, work, ctx)


@handler("work.both", queue="alpha")
async def alpha(work: Work, ctx: Context) -> None:
    await _work(work, ctx)


@handler("work.both", queue="beta")
async def beta(work: Work, ctx: Context) -> None:
    await _work(work, ctx)


@handler("work.scaled", queue="gamma")
async def gamma(work: Work, ctx: Context) -> None:
    await _work(work, ctx)
