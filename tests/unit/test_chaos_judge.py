"""The judge of the chaos tests finds what it is there to find: planted in the files and answers that it reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.harness.harm import Harm
from tests.chaos.harness.judge import Judge
from tests.chaos.harness.load import Answer, Job, Load


class Told:
    """A program that answers what it is given. states: of each delivery, by its queue."""

    alive, name, pid = True, "gateway", 1

    def __init__(self, state: str) -> None:
        self._state = state

    async def ask(self, _: object, path: str) -> tuple[int, Any]:
        if path.startswith("/v1/dead-letters"):
            return 200, {"items": [], "cursor": None}
        if path == "/metrics":
            return 200, 'headrace_claims_lost_total{queue="alpha"} 0.0\n'
        return 200, {"deliveries": [{"queue": queue, "state": self._state} for queue in ("alpha", "beta")]}


class Whole:
    """The part of a System that the judge looks at."""

    def __init__(self, effects: Path, state: str = "succeeded") -> None:
        self.effects, self.gateway, self.client = effects, Told(state), SimpleNamespace()

    async def unready(self, _: float) -> list[object]:
        return []

    def of(self, _: str) -> list[Told]:
        return [self.gateway]


async def _act() -> None:
    return


def line(run: str, what: str, queue: str, at: float) -> str:
    told = {"run": run, "what": what, "load": "l", "job_id": "j", "queue": queue, "pid": 7, "attempt": 1, "at": at, "n": 0}
    return json.dumps(told) + "\n"


async def judged(tmp_path: Path, lines: str, *, left: dict[str, int] | None = None, state: str = "succeeded") -> str:
    file = tmp_path / "effects"
    file.write_text(lines)
    load = Load("http://127.0.0.1:1", "l", 1.0, ("work.both",), [Job(0, "work.both", 0.0, "j", 10.0)])
    load.answers.append(Answer(0.0, 202, "POST"))

    async def remaining() -> dict[str, int]:
        return left or {}

    # broker_forgets ends the wait for what does not come; a harm that was undone long ago excuses nothing.
    harm = Harm(_act, _act, 0.0, broker_forgets=True, healed_at=1.0)
    found = await Judge(Whole(file, state), load, harm, remaining).judge()  # type: ignore[arg-type]  # what is used of it
    return "\n".join(finding.what for finding in found)


BOTH = "".join(line(queue, what, queue, at) for queue in ("alpha", "beta") for what, at in (("begin", 2.0), ("end", 3.0)))


async def test_what_is_well_is_found_well(tmp_path: Path) -> None:
    assert await judged(tmp_path, BOTH) == ""


@pytest.mark.looptime
async def test_a_delivery_without_an_effect_is_lost(tmp_path: Path) -> None:
    assert "lost: 1 deliveries" in await judged(
        tmp_path, BOTH.splitlines(keepends=True)[0] + "".join(BOTH.splitlines(keepends=True)[2:])
    )


async def test_a_second_effect_is_found_and_a_broken_run_excuses_it(tmp_path: Path) -> None:
    again = line("again", "begin", "alpha", 4.0) + line("again", "end", "alpha", 5.0)
    assert "repeated: 1 effects" in await judged(tmp_path, BOTH + again)
    assert await judged(tmp_path, BOTH + again + line("broken", "begin", "alpha", 3.5)) == ""


@pytest.mark.looptime
async def test_what_is_left_is_stuck(tmp_path: Path) -> None:
    assert "stuck: messages are left in {'alpha': 1}" in await judged(tmp_path, BOTH, left={"alpha": 1})
    assert "stuck: 1 records are not settled" in await judged(tmp_path, BOTH, state="running")
