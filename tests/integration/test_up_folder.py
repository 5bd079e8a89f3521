"""One data folder has one `headrace up`, however the one before it ended."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.command_line import run
from tests.servers import free_port


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `headrace up` that is up."""
    command = [sys.executable, "-m", "cli", "up", "--data", str(data), "--port", str(free_port())]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"Headrace is up" not in (line := await process.stdout.readline()):
                assert line, "it ended"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)


async def test_a_second_one_is_refused_and_after_a_kill_the_next_one_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    other = tmp_path / "link"
    other.symlink_to(data)
    async with running(data) as first:
        for name in (data, other):
            code, out, err = await run("up", "--data", str(name))
            assert (code, out, err.count("\n")) == (2, "", 1), err
            assert f"--data {name}: `headrace up` runs with this folder already, as the process {first.pid};" in err
            assert f"kill {first.pid}), or give another --data" in err
        first.kill()
        await first.wait()
        async with running(data) as second:
            code, _, err = await run("up", "--data", str(data))
            assert (code, f"as the process {second.pid};" in err) == (2, True), err
    async with running(data):
        assert second.returncode == 0


async def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = await run("up", "--data", str(tmp_path / "file"))
    assert (code, f"--data {tmp_path}/file: File exists; name a folder" in err) == (2, True), err
