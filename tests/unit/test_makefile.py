"""The Makefile makes the environment again where a first try left half of one."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

# As Debian's python3 without python3-venv: the folder and its `python` are made, pip is not, and the exit code is 1.
HALF = """#!/bin/sh
for folder; do :; done
mkdir -p "$folder/bin"
printf '#!/bin/sh\\nexit 1\\n' > "$folder/bin/python"
chmod +x "$folder/bin/python"
exit 1
"""


def test_an_environment_that_cannot_be_made_is_taken_away_again(tmp_path: Path) -> None:
    python, home = tmp_path / "python", tmp_path / "venv"
    python.write_text(HALF)
    python.chmod(0o755)
    for _ in range(2):
        command = ["make", f"PYTHON={python}", f"VENV={home}", f"{home}/run.stamp"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "apt-get install python3-venv" in done.stderr
        assert not home.exists()


def test_one_without_pip_is_made_anew(tmp_path: Path) -> None:
    """A `python` is there already, and it has no pip: `venv --clear` is asked for."""
    home, python = tmp_path / "venv", tmp_path / "python"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (home / "bin" / "python").chmod(0o755)
    python.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/asked\nexit 1\n')
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", f"VENV={home}", f"{home}/run.stamp"]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (tmp_path / "asked").read_text() == f"-m venv --clear {home}\n"
