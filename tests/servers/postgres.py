"""A private PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.servers import find, free_port


class Postgres:
    """initdb, then postgres, as an unprivileged user where we are root, which PostgreSQL refuses to run as."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._initdb, self._server = find("postgres", "initdb"), find("postgres", "postgres")
        self.port = free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, on the data that is there; on new data the first time."""
        if not self.data.exists():
            self.make()
        command: list[str | Path] = [*_as_user(), self._server, "-D", self.data, "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def make(self) -> None:
        self.data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.data, "postgres", "postgres")
        subprocess.run(
            [*_as_user(), self._initdb, "-D", self.data, "-U", "postgres", "-A", "trust"], check=True, capture_output=True
        )

    def sql(self, command: str) -> None:
        """As the superuser, outside of a transaction."""
        for _ in range(500):
            try:
                with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
                    connection.execute(command)
                    return
            except psycopg.OperationalError:
                time.sleep(0.02)  # still starting
        raise RuntimeError("postgres does not answer")

    def ask_password(self, role: str) -> None:
        """Of this role alone; everybody else is trusted."""
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self.sql("SELECT pg_reload_conf()")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; its own children see that it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for every client to leave by itself
            self._process.wait(20)


def _as_user() -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    # pytest keeps its folders to their owner; the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="headrace-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.stop()
