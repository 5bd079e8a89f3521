"""One local process that is kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from autoscaler.actuators.process import KeptProcess, Program


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not true():
            await asyncio.sleep(0.02)


async def test_one_that_cannot_be_started_again_is_tried_until_it_can(tmp_path: Path) -> None:
    folder, said, born = tmp_path / "logs", [], []
    folder.mkdir()
    program = Program("sleeper", ("-c", "import time; time.sleep(600)"), {}, folder / "log")
    kept = KeptProcess(program, said=said.append, born=born.append)
    await kept.start()
    await until(lambda: kept.ready)
    folder.rename(tmp_path / "elsewhere")  # its log cannot be opened
    kept.kill()
    await until(lambda: sum("cannot be started" in line for line in said) >= 2)
    assert not kept.ready
    folder.mkdir()
    await until(lambda: len(born) == 2 and kept.ready)
    assert born[0] != born[1]
    await kept.stop(drain=5.0)
    assert not kept.ready


async def test_one_that_refuses_to_start_is_not_started_again(tmp_path: Path) -> None:
    said, born = [], []
    script = "import sys; print('HEADRACE_PORT=8080 is taken', file=sys.stderr); sys.exit(2)"
    program = Program("gateway", ("-c", script), {}, tmp_path / "log", "http://127.0.0.1:9/readyz")
    program.log.write_text("of an earlier run\n")
    kept = KeptProcess(program, said=said.append, born=born.append, final=(2,))
    await kept.start()
    assert not await kept.until_ready(60.0)
    await until(lambda: said)
    assert said == ["gateway ended with 2, and is not started again: HEADRACE_PORT=8080 is taken"]
    assert (kept.refused, len(born)) == (2, 1)
    await kept.stop(drain=5.0)
