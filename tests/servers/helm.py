"""Helm: that on PATH, else the one that this machine's cluster tool has built. And Helm 3, for what must be the same with both."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.servers import find, missing
from tests.servers.kubernetes import built

_MADE = Path(__file__).parents[2] / ".venv"
# Nothing of the user's: no plugins, no repositories, no cluster. Helm writes nothing there for a chart in a folder.
_OWN = {f"HELM_{kind}_HOME": "/nonexistent" for kind in ("CACHE", "CONFIG", "DATA")} | {"KUBECONFIG": "/nonexistent"}


@cache
def helm() -> Path:
    """Where Helm is. Skips the test, or fails it where HEADRACE_TEST_REQUIRE names helm, when it is nowhere."""
    home = built()
    if shutil.which("helm") is None and home is not None and (home / "bin/helm").exists():
        return home / "bin/helm"
    return find("helm", "helm")


def helms3() -> list[Path]:
    """Every Helm 3 of HEADRACE_HELM3, with colons between, else of `make chart-tools`, else `helm3` on PATH."""
    given = [Path(one) for one in os.environ.get("HEADRACE_HELM3", "").split(":") if one]
    on_path = [Path(one) for one in [shutil.which("helm3")] if one]
    return given or sorted(_MADE.glob("helm-v3.*/helm")) or on_path or missing("helm3", "`make chart-tools` compiles it, with Go")


def run(program: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run it, and have its exit code and what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    command = [program, *arguments]
    return subprocess.run(command, input=given, env=kept | _OWN, capture_output=True, text=True, timeout=60, check=False)
