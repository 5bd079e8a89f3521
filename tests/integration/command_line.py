"""The command line, run as a process."""

from __future__ import annotations

import asyncio
import os
import sys


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of `headrace ARGUMENTS`."""
    return await fed(b"", *arguments, **environment)


async def fed(stdin: bytes, /, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """The same, with something on its standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *arguments,
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
