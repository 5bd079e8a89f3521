"""The search of tests for their servers: hidden ones are not found, required ones fail, and a port is one process's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import find, free_port, looked_for, missing
from tests.servers.needs import SERVERS, line

ROOT = Path(__file__).parents[2]


def test_hidden_is_found_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_TEST_HIDE", raising=False)
    assert looked_for("shell", "sh")
    monkeypatch.setenv("HEADRACE_TEST_HIDE", "redis,shell")
    assert looked_for("shell", "sh") is None
    with pytest.raises(pytest.skip.Exception, match="no shell: HEADRACE_TEST_HIDE hides it"):
        find("shell", "sh")
    monkeypatch.setenv("HEADRACE_TEST_HIDE", "all")
    assert [name for name, (there, _) in SERVERS.items() if there()] == []


def test_required_and_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_TEST_HIDE", raising=False)
    monkeypatch.setenv("HEADRACE_TEST_REQUIRE", "redis,rabbitmq")
    with pytest.raises(pytest.fail.Exception, match="redis is required: it is gone"):
        missing("redis", "it is gone")


def test_one_line_says_what_is_skipped_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    class Item:
        nodeid = "test"

        def __init__(self, *fixtures: str) -> None:
            self.fixturenames = fixtures

        def iter_markers(self, name: str) -> list[pytest.Mark]:
            return [pytest.mark.needs("helm").mark] if "render" in self.fixturenames else []

    items = [Item("rabbitmq", "redis_server"), Item("own_redis"), Item("tmp_path"), Item("render")]
    monkeypatch.setenv("HEADRACE_TEST_HIDE", "all")
    assert line(items) == (  # type: ignore[arg-type]  # as much of an item as it reads
        "headrace: no rabbitmq, redis, helm: 3 tests will be skipped; "
        "apt-get install rabbitmq-server redis-server; https://helm.sh/docs/intro/install (Helm 4)"
    )
    assert line(items[2:3]) == ""  # type: ignore[arg-type]  # the same


def test_a_port_is_given_to_one_process() -> None:
    """Two that ask at the same time, and keep what they were given."""
    program = (
        "import sys; from tests.servers import free_port; print(*[free_port() for _ in range(300)], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program]
    asking = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    given = [port for one in asking if one.stdout for port in one.stdout.readline().split()]
    given += [str(free_port()) for _ in range(300)]
    for one in asking:
        one.communicate(timeout=20)
    assert len(given) == len(set(given)) == 900
