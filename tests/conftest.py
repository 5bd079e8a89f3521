"""Fixtures that every test may use: private servers, one a session. And the order of a run."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

pytest_plugins = (
    "tests.servers.collecting",
    "tests.servers.kubernetes",
    "tests.servers.postgres",
    "tests.servers.prometheus",
    "tests.servers.rabbitmq",
    "tests.servers.redis",
    "tests.servers.tls",
    "tests.servers.images",  # the last two import others, whose asserts are to be rewritten
    "tests.servers.needs",
)

TESTS = Path(__file__).parent
# Servers that take seconds to start: with pytest-xdist one worker has all the tests that share one.
SHARED = ("managed_rabbitmq", "postgres_server")


def pytest_configure() -> None:
    # looptime asks for the current event loop before every test, and Python 3.11 makes one that is never closed, unless it was set
    # to none.
    asyncio.set_event_loop(None)
    # structlog's own tracebacks, with colours and variables, cost 20 ms each: half of the time of tests that raise many.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    # How long an example takes is the machine's, and it may be busy.
    settings.register_profile("headrace", deadline=None)
    settings.load_profile("headrace")
    # Tests of the engine have job types of their own, here and in the processes that they start, wherever those run.
    os.environ["HEADRACE_APP"] = "tests.team"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS.parent), os.environ.get("PYTHONPATH"))))
    # For tests that kill no broker; the fixture `own_rabbitmq` takes it back for those that do.
    os.environ.setdefault("HEADRACE_NEW_QUEUE_PAUSE", "0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if folder == "chaos":
            item.add_marker("chaos")
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        if getattr(config.option, "loadgroup", False):
            _tell_group(item)


def _tell_group(item: pytest.Item) -> None:
    """The scheduler knows a group by what stands behind the `@` of a test's id.

    pytest-xdist 3.8 writes it to where pytest 9.2 looks no more, so that every group was spread over all workers.
    """
    group = item.get_closest_marker("xdist_group")
    if group is not None and hasattr(item, "_id"):
        item._id = type(item._id).parse(f"{item.nodeid}@{group.args[0]}")


def _group(item: pytest.Item) -> str:
    """The group of tests that run in one worker, one after the other: a file, or all that share a slow server."""
    shared = [name for name in SHARED if name in getattr(item, "fixturenames", ())]
    return shared[0] if shared else item.path.relative_to(TESTS).as_posix()
