"""Which tests want which server or tool, whether it is there, and one line at the start of a run about what is not.

A test says what it wants by its fixtures, or by `@pytest.mark.needs("helm")` where it runs a tool itself. A test that is skipped
for want of something that it did not say is a failure: the line would have counted too few.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.harness.small import mountable
from tests.servers import hidden, looked_for, missing
from tests.servers.helm import checkov_looked_for, helm_looked_for, helms3_looked_for
from tests.servers.kind import named
from tests.servers.kubernetes import built

# Whether it is there, and how it comes to be there: a Debian package, or what else to do.
SERVERS: dict[str, tuple[Callable[[], Any], str]] = {
    "rabbitmq": (lambda: looked_for("rabbitmq", "rabbitmq-server"), "apt:rabbitmq-server"),
    "redis": (lambda: looked_for("redis", "redis-server"), "apt:redis-server"),
    "postgres": (lambda: looked_for("postgres", "initdb"), "apt:postgresql"),
    "openssl": (lambda: looked_for("openssl", "openssl"), "apt:openssl"),
    "prometheus": (lambda: looked_for("prometheus", "prometheus"), "apt:prometheus"),
    "promtool": (lambda: looked_for("promtool", "promtool"), "apt:prometheus"),
    "helm": (helm_looked_for, "https://helm.sh/docs/intro/install (Helm 4)"),
    "helm3": (helms3_looked_for, "make chart-tools (with Go)"),
    "checkov": (checkov_looked_for, "make chart-tools"),
    "kubectl": (
        lambda: looked_for("kubectl", "kubectl") or (not hidden("kubectl") and built()),
        "https://kubernetes.io/docs/tasks/tools",
    ),
    "docker": (lambda: looked_for("docker", "docker"), "apt:docker.io"),
    "git": (lambda: looked_for("git", "git") and (Path(__file__).parents[2] / ".git").exists(), "git, and a clone"),
    "bash": (lambda: looked_for("bash", "bash"), "apt:bash"),
    "tmpfs": (mountable, "run as root, who may mount one"),
    "kubernetes": (lambda: not hidden("kubernetes") and (os.environ.get("KUBECONFIG") or built()), "set KUBECONFIG"),
    "kind": (lambda: not hidden("kind") and named(os.environ.get("KUBECONFIG", "")), "make kind-test"),
}

FIXTURES = {
    "rabbitmq": "rabbitmq",
    "managed_rabbitmq": "rabbitmq",
    "own_rabbitmq": "rabbitmq",
    "redis_server": "redis",
    "own_redis": "redis",
    "redis_cluster": "redis",
    "own_cluster": "redis",
    "redis_sentinels": "redis",
    "own_sentinels": "redis",
    "postgres_server": "postgres",
    "authority": "openssl",
    "another_authority": "openssl",
    "secret_rabbitmq": "rabbitmq",
    "secret_postgres": "postgres",
    "prometheus_server": "prometheus",
    "stubs": "bash",  # of the scripts in k8s/
    "cluster": "kubernetes",
    "image": "docker",  # of tests/e2e, both
    "images": "docker",
    "namespace": "kubernetes",
    "workers": "kind",  # of tests/kind
}

_SAYS = "headrace_says"  # where a worker of pytest-xdist leaves the line for the one that prints


def wanted(item: pytest.Item) -> list[str]:
    """In the order of SERVERS."""
    names = {name for mark in item.iter_markers("needs") for name in mark.args}
    names |= {FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in FIXTURES}
    assert names <= SERVERS.keys(), f"{item.nodeid} needs {sorted(names - SERVERS.keys())}, which nobody knows"
    return [name for name in SERVERS if name in names]


def line(items: list[pytest.Item]) -> str:
    """The tests that will be skipped, the servers that they lack, and how to get these; empty where none will be."""
    gone = {name for name, (there, _) in SERVERS.items() if not there()}
    skipped = [set(names) & gone for names in map(wanted, items) if set(names) & gone]
    if not skipped:
        return ""
    lacking = [name for name in SERVERS if any(name in names for names in skipped)]
    return f"headrace: no {', '.join(lacking)}: {len(skipped)} tests will be skipped; {'; '.join(_remedies(lacking))}"


def _remedies(lacking: list[str]) -> Iterator[str]:
    ways = list(dict.fromkeys(SERVERS[name][1] for name in lacking))
    packages = [way.removeprefix("apt:") for way in ways if way.startswith("apt:")]
    if packages:
        yield f"apt-get install {' '.join(packages)}"
    yield from (way for way in ways if not way.startswith("apt:"))


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        folder = tempfile.TemporaryDirectory(prefix="headrace-tests-")
        config.add_cleanup(folder.cleanup)
        config.pluginmanager.register(Teller(config, Path(folder.name) / "line"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in wanted(item):
        there, way = SERVERS[name]
        if not there():
            missing(name, way.replace("apt:", "apt-get install "))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        name = report.longrepr[2].removeprefix("Skipped: no ").partition(":")[0]
        if name in SERVERS and name not in wanted(item):
            report.outcome, report.longrepr = "failed", f"{item.nodeid} did not say that it needs {name}: mark it"
    return report


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str:
    return line(items)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker: all workers collect the same, and the first tells."""
    given = getattr(session.config, "workerinput", {})
    if _SAYS in given:
        Path(given[_SAYS]).write_text(line(session.items), encoding="utf-8")


class Teller:
    """In the process that prints, where pytest-xdist runs the tests in workers."""

    def __init__(self, config: pytest.Config, file: Path) -> None:
        self._config, self._file, self._told = config, file, False

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_SAYS] = str(self._file)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        if self._told or not self._file.exists():
            return
        self._told = True
        said = self._file.read_text(encoding="utf-8")
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if said and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(said)
