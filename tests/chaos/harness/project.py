"""A team's project: the programs as they are, with job types and handlers of the tests in the place of the example."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEAM = Path(__file__).parents[1] / "team"
_PACKAGES = ("jobs", "telemetry", "service", "autoscaler", "cli", "consumer")


def assemble(folder: Path, root: Path | None = None) -> Path:
    """A folder in which `python -m service` runs the programs of `root` with the tests' contracts and handlers.

    root: another checkout than this one; $HEADRACE_CHAOS_PROJECT names one for all tests.
    """
    root = root or Path(os.environ.get("HEADRACE_CHAOS_PROJECT", ROOT))
    folder.mkdir(parents=True)
    for package in _PACKAGES:
        (folder / package).mkdir()
        for entry in (root / package).iterdir():
            if (package, entry.name) != ("consumer", "handlers") and entry.name != "__pycache__":
                (folder / package / entry.name).symlink_to(entry)
    (folder / "contracts").symlink_to(TEAM / "contracts")
    (folder / "consumer" / "handlers").mkdir()
    for entry in (TEAM / "handlers").glob("*.py"):
        (folder / "consumer" / "handlers" / entry.name).symlink_to(entry)
    # What the shipped handlers share is part of the template, and what the tests of a database are about.
    (folder / "consumer" / "handlers" / "database.py").symlink_to(root / "consumer" / "handlers" / "database.py")
    return folder
