"""The effects of the handlers, read from the file to which they append."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, str]  # job id, queue


@dataclass(slots=True)
class Run:
    """One run of a handler. Times are Unix seconds; `ended` None is a run that was broken off, or is still going.

    effect: whether it did something, or ended because it found its work done."""

    pid: int
    attempt: int
    began: float
    ended: float | None = None
    effect: bool = False


def read(path: Path, load: str) -> dict[Key, list[Run]]:
    """The runs of each delivery of one load, in the order in which they began."""
    runs: dict[str, Run] = {}
    found: dict[Key, list[Run]] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else ():
        told = json.loads(line)
        if told["load"] != load:
            continue
        if told["what"] == "begin":
            run = runs[told["run"]] = Run(told["pid"], told["attempt"], told["at"])
            found[told["job_id"], told["queue"]].append(run)
        else:
            runs[told["run"]].ended = told["at"]
            runs[told["run"]].effect = told["what"] == "end"
    return dict(found)


def done(runs: Iterable[Run]) -> bool:
    return any(run.ended is not None for run in runs)
