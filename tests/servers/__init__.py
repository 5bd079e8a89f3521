"""Private servers for tests: found on PATH or under Debian's folders, started on free ports of 127.0.0.1, ended after.

What is missing is skipped with its reason; with `HEADRACE_TEST_REQUIRE=rabbitmq,redis,postgres` a skip is a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import NoReturn

import pytest

_DEBIAN = ("usr/sbin", "usr/lib/postgresql/*/bin", "usr/lib/rabbitmq/bin")  # below /


def find(server: str, program: str) -> Path:
    """Where `program` is. Skips the test, or fails it where `server` is required, when it is nowhere."""
    found = shutil.which(program)
    if found:
        return Path(found)
    for pattern in _DEBIAN:
        for folder in sorted(Path("/").glob(pattern), reverse=True):
            candidate = folder / program
            if candidate.exists():
                return candidate
    return missing(server, f"{program} is neither on PATH nor in {', '.join(_DEBIAN)}")


def missing(server: str, reason: str) -> NoReturn:
    """Skip for want of `server`, or fail where HEADRACE_TEST_REQUIRE names it."""
    if server in os.environ.get("HEADRACE_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{server} is required: {reason}")
    pytest.skip(f"no {server}: {reason}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
