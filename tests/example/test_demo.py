"""`headrace demo`: the real programs as processes, counted by mails and rows."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.integration.command_line import run


@pytest.mark.parametrize("more", [(), ("--kill-consumer",)], ids=["calm", "a consumer killed"])
async def test_nothing_is_lost_and_no_effect_is_doubled(more: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "cli", "demo", "--users", "150", "--json", *more]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await asyncio.wait_for(process.communicate(), 110)
    report = json.loads(out.decode().splitlines()[-1])
    assert process.returncode == 0, err.decode()
    assert (report["accepted"], report["succeeded"], report["dead"]) == (150, 147, 3)
    assert (report["lost"], report["duplicated_effects"]) == (0, 0)
    if not more:
        assert report["resent_mails"] == 0


async def test_a_demo_in_a_pipe_ends_with_what_its_table_says() -> None:
    code, out, err = await run("demo", "--users", "120")
    assert code == 0, err
    rows = {cells[1]: cells[2] for line in out.splitlines() if len(cells := [part.strip() for part in line.split("│")]) == 4}
    (shown,) = {line.split()[-1] for line in out.splitlines() if line.startswith("deliveries succeeded")}
    assert int(shown) == 2 * int(rows["accepted"]) - int(rows["dead"])
    assert "What became of it" in [line.strip() for line in out.splitlines()]
