"""Every cell of the matrix that is a test: what `docs/reliability.md` says may be relied on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.cells import EVERY_RUN, Cell, cells
from tests.chaos.stage import Stage

_NEEDS: dict[str, tuple[str, ...]] = {"sqlite": (), "postgres": ("rabbitmq", "redis", "postgres")}


def _parameters() -> Iterator[object]:
    for cell in cells():
        if cell.reason is None:
            marks = [pytest.mark.chaos, pytest.mark.timeout(600), pytest.mark.xdist_group(f"chaos-{cell.setup}")]
            wanted = _NEEDS.get(cell.setup, ("rabbitmq", "redis"))
            if cell.fault == "disk full" and cell.setup != "rabbitmq":  # which has an alarm for it, with a limit to set
                wanted = (*wanted, "tmpfs")
            marks.append(pytest.mark.needs(*wanted))
            if (cell.setup, cell.fault) in EVERY_RUN:
                marks.append(pytest.mark.cell)
            yield pytest.param(cell, marks=marks, id=cell.name)


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    # pytest keeps its folders to their owner; PostgreSQL runs as another user.
    with tempfile.TemporaryDirectory(prefix="headrace-chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = Stage(Path(folder))
        yield made
        made.end()


@pytest.mark.parametrize("cell", list(_parameters()))
def test_cell(cell: Cell, stage: Stage, record_property: Callable[[str, object], None]) -> None:
    record_property("cell", cell.name)
    result = stage.result(cell)
    record_property("seconds", round(result.seconds))
    record_property("figures", json.dumps(result.figures))
    findings = [finding.what for finding in result.findings if cell.program in finding.programs]
    # A fault of one program belongs to that program's cell, even if other programs suffer from it.
    if cell.scenario[1]:
        findings = [finding.what for finding in result.findings]
    assert not findings, "\n".join([*findings, f"figures: {result.figures}"])
