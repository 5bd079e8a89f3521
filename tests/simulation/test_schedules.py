"""The schedules of the first seeds, on all cores; and that a seed is the same whenever and wherever it runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.soak import explain, many

# `make sim` runs 2,000; a run of all tests this number, which takes some seconds.
SCHEDULES = int(os.environ.get("HEADRACE_SIM_SCHEDULES", "200"))


@pytest.mark.timeout(600)
def test_nothing_is_lost_and_nothing_done_twice() -> None:
    failed = sorted(report.seed for report in many(range(SCHEDULES), os.cpu_count() or 1) if report.wrong)
    assert not failed, "\n\n".join(explain(seed) for seed in failed[:3]) + f"\n\nfailed: {failed}"


def test_a_seed_is_the_same_again() -> None:
    """In another process, where texts have other hashes and objects other addresses."""
    digests = {_digests(seed_of_hashes) for seed_of_hashes in ("1", "20261126")}
    assert len(digests) == 1


def _digests(seed_of_hashes: str) -> str:
    command = [sys.executable, "-m", "tests.simulation.digests", "30"]
    environment = os.environ | {"PYTHONHASHSEED": seed_of_hashes}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
