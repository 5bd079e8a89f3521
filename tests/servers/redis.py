"""Private Redis servers: one, a cluster, and one with replicas that Sentinels watch."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.servers import find, free_port

# How long a server of a cluster, or a primary, is silent before it counts as dead. Short, and more than a busy machine takes.
DEAD_AFTER_MS = 2000


class RedisServer:
    """Appends every write to its file, so that it survives SIGKILL. options: further ones, as on the command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._program = find("redis", "redis-server")
        self.folder = folder
        self._options = options or ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers, though it may still be loading its file."""
        command: list[str | Path] = [self._program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", self.folder, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.wait()

    def wait(self) -> None:
        until(self._answers, "redis-server answers")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Stall it."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, *command: str) -> Any:
        """The answer to an operator's command, decoded."""
        with redis.Redis(port=self.port, decode_responses=True, protocol=2, retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        try:
            self.ask("PING")
        except redis.exceptions.ConnectionError as error:
            return isinstance(error, (redis.exceptions.BusyLoadingError, redis.exceptions.AuthenticationError))
        except RedisError:
            return True
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait(10)


class RedisCluster:
    """Three primaries, each with a replica."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            RedisServer(
                folder / str(n),
                *("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--save", ""),
                *("--cluster-node-timeout", str(DEAD_AFTER_MS), "--repl-diskless-sync-delay", "0"),
            )
            for n in range(6)
        ]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        create: list[str | Path] = [find("redis", "redis-cli"), "--cluster", "create", *addresses]
        create += ["--cluster-replicas", "1", "--cluster-yes"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, timeout=60)
        until(lambda: all(self._ready(node) for node in self.nodes), "the cluster is whole")

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def primaries(self) -> list[RedisServer]:
        return [node for node in self.nodes if role(node) == "master"]

    def flush(self) -> None:
        for node in self.primaries():
            node.ask("FLUSHALL")

    def primary_of(self, key: str) -> RedisServer:
        slot = self.nodes[-1].ask("CLUSTER", "KEYSLOT", key)
        ranges = self.nodes[-1].ask("CLUSTER", "SLOTS")
        assert isinstance(ranges, list)
        port = next(primary[1] for first, last, primary, *_ in ranges if first <= slot <= last)
        return next(node for node in self.nodes if node.port == port)

    def first_slot(self, primary: RedisServer) -> int:
        ranges = primary.ask("CLUSTER", "SLOTS")
        assert isinstance(ranges, list)
        return int(min(first for first, _, server, *_ in ranges if server[1] == primary.port))

    def first_listed(self, asked: RedisServer) -> RedisServer:
        """The primary that comes first in what a server answers of the cluster: each has an order of its own."""
        ranges = asked.ask("CLUSTER", "SLOTS")
        assert isinstance(ranges, list)
        return next(node for node in self.nodes if node.port == ranges[0][2][1])

    def replica_of(self, primary: RedisServer) -> RedisServer:
        return next(node for node in self.nodes if _primary_port(node) == primary.port)

    def _ready(self, node: RedisServer) -> bool:
        info = node.ask("CLUSTER INFO")
        assert isinstance(info, dict)
        return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "6" and _in_step(node)


class RedisWithSentinels:
    """A primary with a replica, and three Sentinels that watch them under the name `headrace`."""

    def __init__(self, folder: Path) -> None:
        options = ("--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0")
        self.primary = RedisServer(folder / "primary", *options)
        self.replica = RedisServer(folder / "replica", *options, "--replicaof", f"127.0.0.1 {self.primary.port}")
        self.sentinels = [_Sentinel(folder / f"sentinel{n}", self.primary.port) for n in range(3)]
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels) + "/headrace/0"

    def start(self) -> None:
        for server in (self.primary, self.replica):
            server.start()
        until(lambda: _in_step(self.replica), "the replica is in step")
        for sentinel in self.sentinels:
            sentinel.start()
        until(lambda: all(self._ready(sentinel) for sentinel in self.sentinels), "the Sentinels know all")

    def kill(self) -> None:
        for server in (*self.sentinels, self.primary, self.replica):
            server.kill()

    def flush(self) -> None:
        self.primary.ask("FLUSHALL")

    @staticmethod
    def _ready(sentinel: RedisServer) -> bool:
        known = sentinel.ask("SENTINEL MASTER", "headrace")
        assert isinstance(known, dict)
        return known["num-other-sentinels"] == 2 and known["num-slaves"] == 1 and not known["is_sdown"]


class _Sentinel(RedisServer):
    def __init__(self, folder: Path, primary: int) -> None:
        super().__init__(folder, "--sentinel")
        lines = (
            ("monitor", f"127.0.0.1 {primary} 2"),
            ("down-after-milliseconds", str(DEAD_AFTER_MS)),
            ("failover-timeout", "10000"),
        )
        self._file = folder / "sentinel.conf"
        self._file.write_text("".join(f"sentinel {what} headrace {value}\n" for what, value in lines))
        self._options = (str(self._file), "--sentinel")

    def start(self) -> None:
        command: list[str | Path] = [self._program, self._file, "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", self.folder]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(self._answers, "the Sentinel answers")


def until(done: Callable[[], object], what: str, within: float = 30.0) -> None:
    """Wait until `done` is true. Raises RuntimeError after `within` seconds."""
    for _ in range(int(within / 0.02)):
        if done():
            return
        time.sleep(0.02)
    raise RuntimeError(f"not within {within:g} s: {what}")


def role(node: RedisServer) -> str | None:
    """`master` or `slave`; None while it does not say."""
    try:
        role = node.ask("ROLE")
    except RedisError:
        return None
    assert isinstance(role, (list, tuple))
    return str(role[0])


def _primary_port(node: RedisServer) -> int | None:
    role = node.ask("ROLE")
    assert isinstance(role, (list, tuple))
    return int(role[2]) if role[0] == "slave" else None


def _in_step(node: RedisServer) -> bool:
    """Whether it is a primary, or a replica that has all that its primary has."""
    role = node.ask("ROLE")
    assert isinstance(role, (list, tuple))
    return bool(role[0] == "master" or role[3] == "connected")


Servers = TypeVar("Servers", RedisServer, RedisCluster, RedisWithSentinels)


def _running(servers: Servers) -> Iterator[Servers]:
    servers.start()
    yield servers
    servers.kill()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from _running(RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    yield from _running(RedisServer(tmp_path / "redis"))


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    yield from _running(RedisCluster(tmp_path_factory.mktemp("cluster")))


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """One of which a test may kill servers."""
    yield from _running(RedisCluster(tmp_path))


@pytest.fixture(scope="session")
def redis_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithSentinels]:
    yield from _running(RedisWithSentinels(tmp_path_factory.mktemp("sentinels")))


@pytest.fixture
def own_sentinels(tmp_path: Path) -> Iterator[RedisWithSentinels]:
    """With servers that a test may kill."""
    yield from _running(RedisWithSentinels(tmp_path))
