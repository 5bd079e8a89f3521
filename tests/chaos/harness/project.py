"""A team's project: the programs as they are, with job types and handlers of the tests in the place of the example."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEAM = Path(__file__).parents[1] / "team"
# The resource that the example's handlers share, which the tests of a database are about; they go with it.
DATABASE = "app/resources/database.py"
_ENGINE = ("core", "adapters", "telemetry", "service", "consumer", "autoscaler", "simulator", "cli")
# 0.1.0 has other packages, and job types and handlers in other places: the tests' own files are written for this release.
_ENGINE_OF_0_1 = ("jobs", "telemetry", "service", "consumer", "autoscaler", "cli")
_NAMES_OF_0_1 = {
    "app.contracts": "contracts",
    "app.handlers": "consumer.handlers",
    "app.resources.database": "consumer.handlers.database",
    "core.": "jobs.",
}


def assemble(folder: Path, root: Path | None = None) -> Path:
    """A folder in which `python -m service` runs the programs of `root` with the tests' contracts and handlers.

    root: another checkout than this one; $HEADRACE_CHAOS_PROJECT names one for all tests.
    """
    root = root or Path(os.environ.get("HEADRACE_CHAOS_PROJECT", ROOT))
    if (root / "jobs").is_dir():
        return _of_0_1(folder, root)
    folder.mkdir(parents=True)
    for package in _ENGINE:
        (folder / package).symlink_to(root / package)
    shutil.copytree(TEAM, folder / "app")
    if not (root / DATABASE).exists():
        (folder / "app/handlers/rows.py").unlink()
        return folder
    for shared in ("settings.py", "resources"):
        (folder / "app" / shared).symlink_to(root / "app" / shared)
    return folder


def _of_0_1(folder: Path, root: Path) -> Path:
    for package in _ENGINE_OF_0_1:
        shutil.copytree(root / package, folder / package)
    for ours, theirs in (("contracts", "contracts"), ("handlers", "consumer/handlers")):
        (folder / theirs).mkdir(exist_ok=True)
        for example in (folder / theirs).glob("[a-z]*.py"):
            if example.name != "database.py":
                example.unlink()
        for file in (TEAM / ours).glob("*.py"):
            text = file.read_text()
            for name, before in _NAMES_OF_0_1.items():
                text = text.replace(name, before)
            (folder / theirs / file.name).write_text(text)
    return folder
