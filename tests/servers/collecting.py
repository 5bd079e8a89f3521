"""Collecting tests computes nothing: a process or a connection that a module starts when it is imported fails that module.

A server that is missing on one machine would otherwise be an error of all its tests there, instead of a skip of those that want it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest

_FORBIDDEN = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect", "socket.bind"})
_now = [False]


def _watch(event: str, arguments: tuple[object, ...], now: list[bool] = _now, forbidden: frozenset[str] = _FORBIDDEN) -> None:
    """now, forbidden: kept here, since it is asked when the interpreter has taken its modules down, too."""
    if now[0] and event in forbidden:
        raise RuntimeError(f"{event}{arguments[:2]} while tests are collected: do it in a fixture or in the test")


sys.addaudithook(_watch)  # it cannot be removed again, so it has a switch


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    _now[0] = isinstance(collector, pytest.Module)
    try:
        return (yield)
    finally:
        _now[0] = False
