"""Prints the matrix at the end of a run that had cells in it."""

from __future__ import annotations

import pytest

from tests.chaos.cells import FAULTS, cells

_SIGNS = {"passed": "ok", "failed": "FAIL", "error": "FAIL", "skipped": "skip"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran: dict[str, tuple[str, float]] = {}
    for outcome, sign in _SIGNS.items():
        for report in terminalreporter.stats.get(outcome, ()):
            told = dict(getattr(report, "user_properties", ()))
            if "cell" in told:
                ran[told["cell"]] = (sign, told.get("seconds", 0))
    if ran:
        for line in _matrix(ran):
            terminalreporter.write_line(line)


def _matrix(ran: dict[str, tuple[str, float]]) -> list[str]:
    """A row for each server and program, a column for each fault: a sign, and how many seconds its scenario took."""
    short = {"not meaningful": "-", "same path as": "=", "not possible on one machine": "/"}
    table: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells():
        sign, seconds = ran.get(cell.name, ("", 0)) if cell.reason is None else (short[cell.reason.why], 0)
        table.setdefault((cell.server, cell.program), {})[cell.fault] = f"{sign} {seconds:g}" if seconds else sign
    widths = [max(len(fault), 8) for fault in FAULTS]
    lines = ["", "faults: seconds of each scenario; - not meaningful, = same path as another cell, / not possible on one machine"]
    lines.append(" " * 34 + " ".join(f"{fault:>{width}}" for fault, width in zip(FAULTS, widths, strict=True)))
    for (server, program), row in table.items():
        name = f"{server}, {program}"
        lines.append(f"{name:<34}" + " ".join(f"{row[fault]:>{width}}" for fault, width in zip(FAULTS, widths, strict=True)))
    signs = [sign for sign, _ in ran.values()]
    lines.append(f"{len(signs)} cells: {signs.count('ok')} ok, {signs.count('FAIL')} failed, {signs.count('skip')} skipped")
    return lines
