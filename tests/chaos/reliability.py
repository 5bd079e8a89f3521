"""Makes docs/reliability.md from the matrix: `python -m tests.chaos.reliability`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.chaos.cells import EVERY_RUN, FAULTS, PROGRAMS, Cell, cells

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

_HEAD = Path(__file__).with_suffix(".head.md")
MINUTES = 30  # on two cores; `make chaos` prints the seconds of each scenario


def render() -> str:
    every = list(cells())
    tested = sum(cell.reason is None for cell in every)
    lines = [_HEAD.read_text(encoding="utf-8").format(minutes=MINUTES), f"{tested} of {len(every)} cells are tests.", ""]
    for server, of in groupby(every, lambda cell: cell.server):
        lines += [f"### {server[0].upper()}{server[1:]}", "", f"| fault | {' | '.join(PROGRAMS)} |", "| --- | --- | --- | --- |"]
        lines += [*_rows(list(of)), ""]
    return "\n".join(lines)


def _rows(of: list[Cell]) -> Iterator[str]:
    by_fault = {fault: [cell for cell in of if cell.fault == fault] for fault in FAULTS}
    for fault, row in by_fault.items():
        told = [_shown(cell) for cell in row]
        yield f"| {fault} | {' | '.join(told)} |" if len(set(told)) > 1 or row[0].reason is None else f"| {fault} | {told[0]} | | |"


def _shown(cell: Cell) -> str:
    if cell.reason is not None:
        return str(cell.reason)
    return "**tested**" if (cell.setup, cell.fault) in EVERY_RUN else "tested"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
