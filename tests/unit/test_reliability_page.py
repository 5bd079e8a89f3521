"""The page of what may be relied on, and the table from which it is made."""

from __future__ import annotations

from tests.chaos.cells import FAULTS, PROGRAMS, Why, cells
from tests.chaos.reliability import PAGE, render


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "python -m tests.chaos.reliability"


def test_every_cell_is_a_test_or_says_why_not() -> None:
    all_of_them = list(cells())
    servers = {cell.server for cell in all_of_them}
    assert len(all_of_them) == len(servers) * len(FAULTS) * len(PROGRAMS)
    assert sum(cell.reason is None for cell in all_of_them) >= 90


def test_a_cell_that_is_like_another_names_one_that_is_tested() -> None:
    tested = {f"{cell.server}, {cell.fault}" for cell in cells() if cell.reason is None}
    named = {cell.reason.more for cell in cells() if cell.reason is not None and cell.reason.why is Why.SAME}
    assert [one for one in named if not any(one.startswith(name) for name in tested)] == []
