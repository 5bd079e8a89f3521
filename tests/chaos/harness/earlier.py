"""An earlier release, as a checkout of its own."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.chaos.harness.project import ROOT

RELEASES = {"0.1.0": "efec73f"}


def checkout(release: str, folder: Path) -> Path:
    """Its files in a folder. Skips the test where the project's history is not there."""
    commit = RELEASES[release]
    git = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}"]
    known = subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True, timeout=30, check=False)
    if known.returncode:
        pytest.skip(f"{release} is commit {commit}, which is not in this checkout: it is shallow, or not one of git")
    archive = subprocess.run([*git, "archive", commit], capture_output=True, timeout=60, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        if hasattr(tarfile, "data_filter"):
            files.extractall(folder, filter="data")
        else:  # Python 3.11.0 to 3.11.3 have no filters; the archive is one that git has just made of our own commit
            files.extractall(folder)  # noqa: S202
    return folder
