"""Private servers for tests: found on PATH or under Debian's folders, started on ports of 127.0.0.1 of their own, ended after.

Tests whose server is missing are skipped with the reason. Two variables of the environment, each a list with commas, change that:

    HEADRACE_TEST_REQUIRE=rabbitmq,redis     a test that would be skipped for want of these fails
    HEADRACE_TEST_HIDE=rabbitmq,helm         these are not found, wherever they are; `all` hides everything

`needs.py` knows what each is called, and which tests want it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers.ports import free_port

__all__ = ["find", "free_port", "hidden", "looked_for", "missing"]

_DEBIAN = ("usr/sbin", "usr/lib/postgresql/*/bin", "usr/lib/rabbitmq/bin")  # below /


def find(server: str, program: str) -> Path:
    """Where `program` is. Skips the test, or fails it where `server` is required, when it is nowhere."""
    return looked_for(server, program) or missing(server, f"{program} is neither on PATH nor in {', '.join(_DEBIAN)}")


def looked_for(server: str, program: str) -> Path | None:
    """The same, without skipping."""
    if hidden(server):
        return None
    found = shutil.which(program)
    if found:
        return Path(found)
    folders = [folder for pattern in _DEBIAN for folder in sorted(Path("/").glob(pattern), reverse=True)]
    return next((folder / program for folder in folders if (folder / program).exists()), None)


def hidden(server: str) -> bool:
    """Whether this run is to behave as if it were not there."""
    return bool({server, "all"} & set(os.environ.get("HEADRACE_TEST_HIDE", "").split(",")))


def missing(server: str, reason: str) -> NoReturn:
    """Skip for want of `server`, or fail where HEADRACE_TEST_REQUIRE names it."""
    if server in os.environ.get("HEADRACE_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{server} is required: {reason}")
    pytest.skip(f"no {server}: {'HEADRACE_TEST_HIDE hides it' if hidden(server) else reason}")
