"""Helm: that on PATH, else the one that this machine's cluster tool has built. And Helm 3, for what must be the same with both.

And checkov, whose policies are for what is rendered.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.servers import find, hidden, looked_for, missing
from tests.servers.kubernetes import built

_MADE = Path(__file__).parents[2] / ".venv"
# Nothing of the user's: no plugins, no repositories, no cluster. Helm writes nothing there for a chart in a folder.
_OWN = {f"HELM_{kind}_HOME": "/nonexistent" for kind in ("CACHE", "CONFIG", "DATA")} | {"KUBECONFIG": "/nonexistent"}


@cache
def helm() -> Path:
    """Where Helm is. Skips the test, or fails it where HEADRACE_TEST_REQUIRE names helm, when it is nowhere."""
    return helm_looked_for() or find("helm", "helm")


def helm_looked_for() -> Path | None:
    """The same, without skipping."""
    home = built()
    of_cluster = home / "bin/helm" if home is not None and not hidden("helm") else None
    return looked_for("helm", "helm") or (of_cluster if of_cluster is not None and of_cluster.exists() else None)


def helms3() -> list[Path]:
    """Every Helm 3 of HEADRACE_HELM3, with colons between, else of `make chart-tools`, else `helm3` on PATH."""
    return helms3_looked_for() or missing("helm3", "`make chart-tools` compiles it, with Go")


def helms3_looked_for() -> list[Path]:
    """The same, without skipping."""
    if hidden("helm3"):
        return []
    given = [Path(one) for one in os.environ.get("HEADRACE_HELM3", "").split(":") if one]
    on_path = [Path(one) for one in [shutil.which("helm3")] if one]
    return given or sorted(_MADE.glob("helm-v3.*/helm")) or on_path


def checkov() -> Path:
    """It has a hundred dependencies of its own, so it lives in an environment of its own: `make chart-tools`."""
    return checkov_looked_for() or missing("checkov", "`make chart-tools` installs it")


def checkov_looked_for() -> Path | None:
    """The same, without skipping."""
    given = Path(os.environ.get("HEADRACE_CHECKOV") or shutil.which("checkov") or _MADE / "checkov/bin/checkov")
    return given if given.exists() and not hidden("checkov") else None


def run(program: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run it, and return its exit code and its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    command: list[str | Path] = [program, *arguments]
    return subprocess.run(command, input=given, env=kept | _OWN, capture_output=True, text=True, timeout=60, check=False)
