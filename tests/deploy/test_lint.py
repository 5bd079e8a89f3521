"""Linters of the chart: Helm's own, and checkov's policies for Kubernetes on everything that is rendered."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.deploy.render import CHART, combinations, manifest
from tests.servers import helm

pytestmark = pytest.mark.needs("helm")

HERE = Path(__file__).parent


@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_helm_finds_nothing(path: Path) -> None:
    done = helm.run(helm.helm(), "lint", "--strict", str(CHART), f"--values={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.needs("checkov")
def test_checkov_finds_nothing(tmp_path: Path) -> None:
    """All combinations in one run, which takes 5 s. The exceptions are in checkov.yaml, with their reasons."""
    for path in combinations():
        (tmp_path / f"{path.name}").write_text(manifest(path), encoding="utf-8")
    command: list[str | Path] = [helm.checkov(), "--directory", tmp_path, "--config-file", HERE / "checkov.yaml"]
    command += ["--output", "json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    found = json.loads(done.stdout)
    failed = [f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in found["results"]["failed_checks"]]
    assert failed == []
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 1000, "it looked at next to nothing"


@pytest.mark.needs("checkov")
def test_every_exception_is_needed(tmp_path: Path) -> None:
    """An exception for a check that would pass is useless."""
    excepted = [line.split()[1] for line in (HERE / "checkov.yaml").read_text().splitlines() if line.startswith("  - CKV")]
    for path in combinations():
        (tmp_path / f"{path.name}").write_text(manifest(path), encoding="utf-8")
    command: list[str | Path] = [
        helm.checkov(),
        "--directory",
        tmp_path,
        "--framework",
        "kubernetes",
        "--skip-download",
        "--output",
        "json",
        "--quiet",
    ]
    done = subprocess.run([*command, "--check", ",".join(excepted)], capture_output=True, text=True, timeout=100, check=False)
    failed = {one["check_id"] for one in json.loads(done.stdout)["results"]["failed_checks"]}
    assert set(excepted) - failed == set()
