"""Fixtures that every test may use: private servers, one a session."""

import asyncio
import os

pytest_plugins = (
    "tests.servers.kubernetes",
    "tests.servers.postgres",
    "tests.servers.prometheus",
    "tests.servers.rabbitmq",
    "tests.servers.redis",
)


def pytest_configure() -> None:
    # looptime asks for the current event loop before every test, and Python 3.11 makes one that nobody closes, unless it was
    # told that there is none.
    asyncio.set_event_loop(None)
    # For tests that kill no broker; the fixture `own_rabbitmq` takes it back for those that do.
    os.environ.setdefault("HEADRACE_NEW_QUEUE_PAUSE", "0")
