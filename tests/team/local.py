"""Beside Headrace on one machine there is nothing but a file for the handlers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.project import Beside


def beside(data: Path, _: Callable[[], int]) -> Beside:
    return Beside({"HEADRACE_DATABASE": f"sqlite:///{data}/points.db"})
