"""One local process that is kept alive."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from autoscaler.actuators.process import KeptProcess, Program
from autoscaler.actuators.processes import Processes
from core.clock import SystemClock
from tests.servers import free_port


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not true():
            await asyncio.sleep(0.02)


async def test_one_that_cannot_be_started_again_is_tried_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    said: list[str] = []
    born: list[int] = []
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
    said: list[str] = []
    born: list[int] = []
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


async def test_how_it_ended_is_kept_until_another_one_is_ready(tmp_path: Path) -> None:
    """The first one writes a lot and ends; the next one finds the file and is ready."""
    mark = tmp_path / "again"
    script = (
        "import pathlib, sys, time; mark = pathlib.Path(sys.argv[1])\n"
        "if mark.exists(): time.sleep(600)\n"
        "print('x' * 100_000); print('HEADRACE_LEASE=much must be a number'); sys.exit(3)"
    )
    program = Program("worker", ("-c", script, str(mark)), {}, tmp_path / "log", "http://127.0.0.1:9/readyz")
    kept = KeptProcess(program, said=lambda _: None)
    assert kept.unready == "NotReady: it runs, and /readyz does not answer"
    await kept.start()
    await until(lambda: kept.died)
    assert kept.unready == "ended with 3: HEADRACE_LEASE=much must be a number"
    mark.touch()
    kept.program = Program("worker", program.arguments, {}, program.log)  # ready as soon as it runs
    await until(lambda: kept.ready)
    assert kept.unready == ""
    await kept.stop(drain=5.0)


async def test_one_that_stands_still_is_ready_no_more_until_it_answers(tmp_path: Path) -> None:
    unused = free_port()
    script = f"import http.server as h; h.HTTPServer(('127.0.0.1', {unused}), h.SimpleHTTPRequestHandler).serve_forever()"
    program, born = Program("worker", ("-c", script), {}, tmp_path / "log", f"http://127.0.0.1:{unused}/"), list[int]()
    kept = KeptProcess(program, said=lambda _: None, born=born.append)
    await kept.start()
    await until(lambda: kept.ready)
    os.kill(born[0], signal.SIGSTOP)
    await until(lambda: not kept.ready)
    assert kept.unready == "NotReady: it runs, and /readyz does not answer"
    os.kill(born[0], signal.SIGCONT)
    await until(lambda: kept.ready)
    await kept.stop(drain=5.0)
    assert len(born) == 1


async def test_why_consumers_of_this_machine_are_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CONCURRENCY", "many")
    actuator = Processes({"consumer": ["email"]}, tmp_path / "consumers", drains={"consumer": 5.0}, clock=SystemClock())
    await actuator.open()
    await actuator.scale("consumer", 2, [], "two")

    def why() -> str:
        seen = actuator.seen("consumer")
        assert seen is not None
        return seen.unready

    await until(lambda: why().startswith("2 processes: ended with 2: "))
    assert "HEADRACE_CONCURRENCY" in why()
    await actuator.close()
