"""A private Prometheus server that scrapes one target every 0.2 s."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import find, free_port


class PrometheusServer:
    """target: host:port of what has /metrics."""

    def __init__(self, folder: Path, target: str) -> None:
        self._program = find("prometheus", "prometheus")
        self._folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        jobs = [{"job_name": "consumers", "static_configs": [{"targets": [target]}]}]
        config = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML too
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, retention: str = "15d") -> None:
        """retention: how old samples may be that the folder has already."""
        command: list[str | Path] = [self._program, f"--config.file={self._folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={self._folder}/data"]
        command += [f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=error"]
        command += [f"--storage.tsdb.retention.time={retention}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture
def prometheus_server(tmp_path: Path) -> Iterator[type[PrometheusServer]]:
    """The class, whose servers end with the test."""
    servers: list[PrometheusServer] = []

    class Kept(PrometheusServer):
        def __init__(self, folder: Path, target: str) -> None:
            super().__init__(folder, target)
            servers.append(self)

    yield Kept
    for server in servers:
        server.end()
