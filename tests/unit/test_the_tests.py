"""The tests themselves: what they need is written down, all of them run somewhere, and none of them is a race against a clock."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.needs import FIXTURES

TESTS = Path(__file__).parents[1]
CLOCKS = {f"{name}{end}" for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time") for end in ("", "_ns")}
# Folders and files that read a real clock, and why they may. None of them asserts that something took less than N seconds.
MAY_READ = {
    "chaos": "what happened before a fault is told from what happened after it; every wait has a generous end",
    "cluster": "waits for a cluster, each with a generous end",
    "simulation/soak.py": "runs until it is stopped, and shows how fast; its first seed is the time",
    "kind": "tells how long a node's loss was felt; asserts none of it",
    "e2e": "waits for a cluster and an image, each with a generous end",
    "contract/broker_suite.py": "a delayed message is never early: a least time, which a slow machine only makes longer",
}
# Files in which the event loop's time is looptime's, so that it is no clock of the machine.
VIRTUAL = {
    "simulation/steering.py": "the simulation's loop is virtual",
    "simulation/programs.py": "the simulation's loop is virtual",
    "simulation/world.py": "the simulation's loop is virtual",
    "unit/controlled.py": "the doubles of tests that are marked looptime, all of them",
    "unit/test_lease.py": "its clock is the loop's, and the tests that compare times are marked looptime",
    "unit/test_kubernetes_watch.py": "its clock is the loop's, and the tests that compare times are marked looptime",
    "unit/test_rabbitmq_calls.py": "the tests that compare times are marked looptime",
    "unit/test_watchers_rounds.py": "its clock is the loop's, and the tests that compare times are marked looptime",
}


def test_every_fixture_that_starts_a_server_says_which() -> None:
    """Else its tests are skipped for want of something that no output names."""
    made = {
        node.name
        for place, tree in _trees()
        if place.startswith("servers/")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(one) for one in node.decorator_list)
    }
    assert made
    assert made <= FIXTURES.keys()


def test_what_one_run_leaves_out_another_runs() -> None:
    """`make test` leaves out nothing but what `make sim`, `make e2e` and `make kind-tests` run, and CI runs these."""
    text = (TESTS.parent / "Makefile").read_text(encoding="utf-8")
    left_out = re.search(r"^TESTED := .*\$\(addprefix --ignore=,(.*)\)$", text, re.MULTILINE)
    assert left_out, "name what is left out by the variables of the other runs"
    assert text.count("--ignore") == 1
    runs = re.findall(r"^([\w-]+): .*\n\t.*(\$\(\w+\))$", text, re.MULTILINE)
    by_run = {variable: run for run, variable in runs}
    scripts = "".join((TESTS.parent / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "kind"))
    assert all(f"make {by_run[variable]}\n" in scripts for variable in left_out[1].split())


@pytest.mark.timeout(60)
def test_what_a_module_starts_when_it_is_imported_fails_it(tmp_path: Path) -> None:
    (tmp_path / "test_early.py").write_text("import subprocess\nsubprocess.run(['true'])\n\ndef test_nothing(): ...\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.servers.collecting", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | {
        "PYTHONPATH": str(TESTS.parent),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # importing them all takes ten times as long as the test
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2, done.stdout
    assert "do it in a fixture or in the test" in done.stdout


def test_no_test_reads_a_real_clock() -> None:
    """A claim about seconds belongs into bench/, which reports; a limit of a wait is a timeout, which says what it waited for."""
    found = {place: readings for place, tree in _trees() if (readings := list(_clocks(tree)))}
    unexpected = {place: readings for place, readings in found.items() if not {place, place.split("/")[0]} & MAY_READ.keys()}
    assert unexpected == {}, "take a virtual clock, or move the claim to bench/"
    assert [one for one in MAY_READ if not any(place.startswith(one) for place in found)] == [], "allowed for nothing"


def test_the_loops_time_is_compared_only_where_it_is_virtual() -> None:
    found = {place for place, tree in _trees() if _reads_the_loop(tree) and not _marked(tree)}
    found -= {place for place in found if place.split("/")[0] in MAY_READ}
    assert found == VIRTUAL.keys(), "mark the module looptime, or say why"


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path.relative_to(TESTS).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _clocks(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            whole = f"{node.value.id}.{node.attr}"
            if (node.value.id == "time" and node.attr in CLOCKS) or whole == "datetime.now":
                yield f"{node.lineno}: {whole}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _named(node.left) in ("steady", "monotonic"):
            yield f"{node.lineno}: {ast.unparse(node)}"  # how long something took
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"{node.lineno}: {name.name}" for name in node.names if name.name in CLOCKS)


def _reads_the_loop(tree: ast.Module) -> bool:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        isinstance(call, ast.Attribute) and call.attr == "time" and _named(call.value) in ("loop", "get_running_loop")
        for call in calls
    )


def _named(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _marked(tree: ast.Module) -> bool:
    """Whether all of the module's tests have looptime."""
    lines = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    return any(line.startswith("pytestmark") and "looptime" in line for line in lines)
