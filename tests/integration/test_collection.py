"""The tests of a machine that has nothing beside Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_all_are_collected_where_nothing_is_installed(tmp_path: Path) -> None:
    """No server, no Helm, no Docker, no Go, no library's cache: PATH and the home are empty, and the folders where Debian puts
    servers are not looked into."""
    kept = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
    hidden = {"PATH": str(tmp_path), "HOME": str(tmp_path), "HEADRACE_TEST_HIDE": "all", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=TESTS.parent, env=kept | hidden, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "tests collected" in done.stdout
    assert "headrace: no rabbitmq, redis" in done.stdout
