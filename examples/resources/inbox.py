"""The folder in which other systems put files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consumer import resource
from core.settings import load
from examples.settings import InboxSettings


@dataclass(frozen=True)
class Inbox:
    """poll: seconds between two looks for a file."""

    folder: Path
    poll: float


@resource
def open_inbox() -> Iterator[Inbox]:
    settings = load(InboxSettings)
    folder = Path(settings.inbox)
    folder.mkdir(parents=True, exist_ok=True)
    yield Inbox(folder, settings.inbox_poll)
