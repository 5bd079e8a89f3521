"""What a consumer's start leaves in the processes that a handler's module forks while it is loaded."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

FORKS = """
import gc, os
if not (pid := os.fork()):
    print("child", gc.isenabled(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print("parent", gc.isenabled(), flush=True)
raise SystemExit
"""


async def test_a_child_that_is_forked_while_modules_load_collects_garbage(tmp_path: Path) -> None:
    for package in ("mine", "mine/contracts", "mine/handlers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "mine/handlers/forks.py").write_text(FORKS)
    environment = os.environ | {"HEADRACE_APP": "mine", "PYTHONPATH": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consumer", env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.decode().splitlines() == ["child True", "parent False"]
