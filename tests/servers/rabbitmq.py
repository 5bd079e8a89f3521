"""A private RabbitMQ server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import find, free_port


class RabbitMQServer:
    """One node, with its own Erlang name server, in `folder`. feature_flags: which are on, with commas; None is all.

    management: with the management plugin, at `management_url`. address: where it listens; `guest` may log in there too.
    name_server: the port of an Erlang name server that it shares with other nodes; None is one of its own. more: lines of
    configuration.
    """

    def __init__(
        self,
        folder: Path,
        feature_flags: str | None = None,
        *,
        management: bool = False,
        address: str = "127.0.0.1",
        name_server: int | None = None,
        more: str = "",
    ) -> None:
        self._folder = folder
        self._server = find("rabbitmq", "rabbitmq-server")
        self._ctl = self._server.with_name("rabbitmqctl")
        self.port = free_port()
        self.url = f"amqp://guest:guest@{address}:{self.port}/"
        self.name = f"headrace-{uuid.uuid4().hex[:8]}@localhost"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "enabled_plugins").write_text("[rabbitmq_management]." if management else "[].")
        configuration = f"listeners.tcp.default = {address}:{self.port}\nloopback_users = none\n"
        self.management_url = ""
        if management:
            port = free_port()
            self.management_url = f"http://guest:guest@127.0.0.1:{port}"
            configuration += f"management.tcp.port = {port}\nmanagement.tcp.ip = 127.0.0.1\n"
        (folder / "rabbitmq.conf").write_text(configuration + more)
        self._environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(name_server or free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-env"),
        }
        if feature_flags is not None:
            self._environment["RABBITMQ_FEATURE_FLAGS"] = feature_flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, on the data that is there, and wait until it answers."""
        with (self._folder / "out.log").open("ab") as out:
            self._process = subprocess.Popen(
                [self._bin("rabbitmq-server")], env=self._environment, stdout=out, stderr=out, start_new_session=True
            )
        self.ctl("await_startup", "--timeout", "60")

    def kill(self) -> None:
        """SIGKILL the whole node."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Stall it."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """The node, and its name server."""
        self.kill()
        command = ["/usr/bin/epmd", "-port", self._environment["ERL_EPMD_PORT"], "-kill"]
        for _ in range(50):  # it stays for as long as it takes the node for alive
            if "living nodes" not in subprocess.run(command, capture_output=True, text=True, check=False).stdout:
                return
            time.sleep(0.1)

    def ctl(self, *arguments: str) -> str:
        """rabbitmqctl."""
        for left in (2, 1, 0):
            command = [self._bin("rabbitmqctl"), *arguments]
            done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=90, check=False)
            if done.returncode == 0:
                return done.stdout
            if left:
                time.sleep(1.0)  # the node has not published its name yet
        raise RuntimeError(f"rabbitmqctl {arguments}: {done.stderr}")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def vhost(self) -> str:
        """The URL of a new virtual host, so that tests do not meet."""
        name = uuid.uuid4().hex
        self.ctl("eval", f'rabbit_vhost:add(<<"{name}">>, <<"test">>), rabbit_auth_backend_internal:set_permissions('
                 f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>).')  # fmt: skip  # one rabbitmqctl, not two
        return f"{self.url}{name}"

    def permit(self, url: str, *, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        """Set the permissions of the user of every test in the virtual host of `url`."""
        self.ctl("set_permissions", "-p", url.rpartition("/")[2], "guest", configure, write, read)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)
            if number is signal.SIGKILL:
                self._process.wait(10)

    def _bin(self, name: str) -> str:
        """Debian's wrappers change the user; the scripts behind them do not."""
        plain = Path("/usr/lib/rabbitmq/bin") / name
        return str(plain if plain.exists() else self._server.with_name(name))


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """One that tests share; each takes a virtual host of its own."""
    server = RabbitMQServer(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def managed_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """One with the management plugin, that tests share."""
    server = RabbitMQServer(tmp_path_factory.mktemp("managed-rabbitmq"), management=True)
    server.start()
    yield server
    server.end()


@pytest.fixture
def own_rabbitmq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitMQServer]:
    """One that a test may kill."""
    monkeypatch.delenv("HEADRACE_NEW_QUEUE_PAUSE", raising=False)
    server = RabbitMQServer(tmp_path / "rabbitmq")
    server.start()
    yield server
    server.cont()
    server.end()
