"""A program's start: what it leaves in the processes that are forked meanwhile, and a wish to end that comes before it is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

FORKS = """
import gc, os
if not (pid := os.fork()):
    print("child", gc.isenabled(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print("parent", gc.isenabled(), flush=True)
raise SystemExit
"""
FORKS_AND_ENDS_IT = """
import os, signal
if not (pid := os.fork()):
    signal.pause()
os.kill(pid, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
raise SystemExit
"""
ENDS_ITSELF = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"
# A contract that goes to twelve queues, with a handler for each.
TWELVE_QUEUES = """
from pydantic import BaseModel
from core.model import Contract

class Done(BaseModel):
    number: int

QUEUES = tuple(f"q{n}" for n in range(12))
DONE = Contract(name="thing.done", description="Done.", payload=Done, queues=QUEUES, examples=({"number": 1},))
"""
HANGING_RESOURCE = """
import asyncio
from collections.abc import AsyncIterator
from consumer import Context, handler, resource
from mine.contracts.all import Done

class Database: ...

@resource
async def database() -> AsyncIterator[Database]:
    print("opening", flush=True)
    try:
        await asyncio.Event().wait()
        yield Database()
    finally:
        print("closed", flush=True)

@handler("thing.done", queue="q0")
async def done(done: Done, ctx: Context, database: Database) -> None: ...
"""
# For a program that hangs: its own limits are far below.
HANGS = 90.0


def project(folder: Path, contracts: str = "", handlers: str = "") -> Path:
    """A project of one package."""
    for package in ("mine", "mine/contracts", "mine/handlers"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    for name, text in ("contracts", contracts), ("handlers", handlers):
        if text:
            (folder / "mine" / name / "all.py").write_text(text)
    return folder


@asynccontextmanager
async def started(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    named = {"HEADRACE_APP": "mine", "PYTHONPATH": str(folder), "HEADRACE_BROKER": f"sqlite:///{folder}/jobs.db"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments), env=os.environ | named | environment, cwd=folder, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Its exit code, its output, its log."""
    out, log = await asyncio.wait_for(process.communicate(), HANGS)
    return process.returncode, out.decode(), log.decode()


async def test_a_child_that_is_forked_while_modules_load_collects_garbage(tmp_path: Path) -> None:
    async with started(project(tmp_path, handlers=FORKS), "consumer") as process:
        _, out, log = await ended(process)
    assert out.splitlines() == ["child True", "parent False"], log


async def test_a_child_that_is_forked_while_modules_load_ends_at_sigterm(tmp_path: Path) -> None:
    async with started(project(tmp_path, handlers=FORKS_AND_ENDS_IT), "consumer") as process:
        _, out, log = await ended(process)
    assert out.splitlines() == [str(-signal.SIGTERM)], log


@pytest.mark.parametrize("program", ["service", "consumer", "consumer --once", "autoscaler"])
async def test_sigterm_while_modules_load_is_heard(program: str, tmp_path: Path) -> None:
    """It would be lost where the program is a container's first process, which has no default for it, and end another at once."""
    async with started(project(tmp_path, contracts=ENDS_ITSELF + TWELVE_QUEUES), *program.split()) as process:
        code, out, log = await ended(process)
    assert code == 0, log
    assert "Traceback" not in out + log


@pytest.mark.parametrize("program", ["service", "consumer", "autoscaler"])
async def test_nothing_is_loaded_before_sigterm_is_heard(program: str, tmp_path: Path) -> None:
    """Slow imports come late: only the interpreter's own start, some 0.02 s, is left."""
    look = f"import sys, {program}.__main__; print(sorted({{'pydantic', 'asyncio', 'structlog'}} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", look, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), HANGS)
    assert out == b"[]\n"


@pytest.mark.parametrize("program", ["service", "consumer", "autoscaler"])
async def test_sigterm_waits_for_no_server_that_says_nothing(program: str, tmp_path: Path) -> None:
    """Broker and store: each of twelve queues would be waited for, for the connect timeout."""
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1") as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        urls = {"HEADRACE_BROKER": f"amqp://{address}/", "HEADRACE_OUTCOMES": f"redis://{address}/0"}
        urls |= {"HEADRACE_MANAGEMENT_URL": f"http://{address}", "HEADRACE_CONNECT_TIMEOUT": "50", "HEADRACE_LINGER_SECONDS": "0.1"}
        async with started(project(tmp_path, contracts=TWELVE_QUEUES), program, **urls) as process:
            await asyncio.wait_for(connected.wait(), HANGS)
            process.send_signal(signal.SIGTERM)
            code, out, log = await ended(process)
    assert code == 0, log
    assert "Traceback" not in out + log


async def test_sigterm_waits_for_no_resource_that_does_not_open(tmp_path: Path) -> None:
    async with started(project(tmp_path, contracts=TWELVE_QUEUES, handlers=HANGING_RESOURCE), "consumer") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), HANGS) == b"opening\n"
        process.send_signal(signal.SIGTERM)
        code, out, log = await ended(process)
    assert (code, out) == (0, "closed\n"), log
