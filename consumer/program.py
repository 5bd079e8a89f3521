"""`python -m consumer --queues email,points`: run the handlers of these queues."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import uvloop

from consumer.app import Consumer, check_limits
from consumer.forks import leave_signals_to_parents
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core import project
from core.errors import ContractError, SettingsError
from core.settings import load, renamed
from telemetry import logs, signals


def main() -> int:
    """The exit code: 0 after a drain, or after the one delivery; 2 for a setting or a contract that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m consumer", description="Run the handlers of some queues.")
    parser.add_argument("--queues", default="", help="which queues, with commas between; all when left out")
    parser.add_argument("--once", action="store_true", help="take one delivery, settle it, and end; or end when none comes")
    given = parser.parse_args()
    leave_signals_to_parents()  # also of a pool that a handler's module makes while it is loaded
    os.register_at_fork(after_in_child=gc.enable)
    gc.disable()  # modules are made to stay: to look through them again and again takes a tenth of a start
    try:
        settings = load(ConsumerSettings)
        registry = Registry.of(project.catalogue(), *project.handlers())
        queues = _queues(given.queues or settings.queues, registry)
        check_limits(settings.for_one_delivery() if given.once else settings, registry, queues)
    except (SettingsError, ContractError) as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format, "consumer")
    for line in renamed(ConsumerSettings):
        logs.get("consumer").warning(line)
    for queue, job_type in registry.missing(queues):
        what = "no handler: such deliveries are left to other consumers, and are dead letters after ten minutes"
        logs.get("consumer").warning(what, queue=queue, job_type=job_type)
    return serve(Consumer(settings, registry, queues, once=given.once).run())


def serve(program: Coroutine[Any, Any, int]) -> int:
    """Run to the end, on a loop of our own. The exit code, unless something is left behind: then the process ends here.

    A task of a handler's own that raises SystemExit or KeyboardInterrupt stops the loop, and the loop goes on. A part that does not
    end with the program, a task that swallows its cancellation or a thread that runs on, is left behind: a loop's usual end, and
    the interpreter's, would wait for it for ever.
    """
    leave_signals_to_parents()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    main = loop.create_task(program)
    while not main.done():
        try:
            loop.run_until_complete(asyncio.wait({main}))
        except (SystemExit, KeyboardInterrupt) as error:
            logs.get("consumer").error("a task of a handler's own would have ended the program", error=type(error).__name__)
    code = _code(main)
    if not loop.run_until_complete(_all_ended()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    signals.ignore()
    loop.close()
    return code


def _code(main: asyncio.Task[int]) -> int:
    try:
        return main.result()
    except SettingsError as error:  # of a handler's resource, which reads its settings when it is opened
        print(error, file=sys.stderr)
        return 2
    except BaseException as error:
        logs.get("consumer").critical("the program has failed", exc_info=error)
        return 1


async def _all_ended() -> bool:
    """Cancel what is left, and see within about a second whether it ends, threads too."""
    loop = asyncio.get_running_loop()
    left: set[asyncio.Task[Any]] = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    left |= {loop.create_task(loop.shutdown_asyncgens()), loop.create_task(loop.shutdown_default_executor())}
    await asyncio.wait(left, timeout=1.0)
    for _ in range(100):
        if threading.active_count() == 1:
            break
        await asyncio.sleep(0.01)
    return threading.active_count() == 1 and all(task.done() for task in left)


def _queues(asked: str, registry: Registry) -> list[str]:
    known = registry.catalogue.topology().queues
    queues = list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip())) or list(known)
    for name in queues:
        if name not in known:
            raise SettingsError(f"HEADRACE_QUEUES or --queues names {name!r}; the contracts have: {', '.join(known)}")
    return queues
