"""`headrace watch` where its output is no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from cli.api import Address, Gateway
from cli.watch import Lines, watch


def record(second: int, reason: str, scaled: int | None = None, queue: str = "email") -> dict[str, Any]:
    at = f"2026-01-31T09:30:{second:02d}.000Z"
    return {"queue": queue, "workload": "consumer", "at": at, "reason": reason, "scaled": scaled, "text": f"because {reason}"}


async def test_a_change_is_one_line_once_and_what_stays_is_none() -> None:
    async with Gateway(Address("http://127.0.0.1:9")) as gateway:
        lines = Lines(gateway, None)
        past = [record(1, "steady"), record(2, "backlog", 4), record(3, "backlog")]
        assert lines.lines(past) == ["2026-01-31T09:30:02.000Z email (consumer): because backlog"], "the last change"
        assert lines.lines([*past, record(4, "backlog")]) == []
        assert lines.lines([record(queue="points", second=1, reason="idle")]) == [
            "2026-01-31T09:30:01.000Z points (consumer): because idle"
        ]
        later = [*past, record(4, "backlog"), record(5, "backlog", 6), record(6, "steady")]
        assert [line[-15:] for line in lines.lines(later)] == ["because backlog", " because steady"]
        assert lines.lines([record(6, "steady"), record(7, "steady")]) == [], "the first of what is asked for is no change"


async def test_what_cannot_be_asked_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    await watch(Address("http://127.0.0.1:9"), None, rounds=2)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no answer from http://127.0.0.1:9")
    assert "\x1b" not in line
