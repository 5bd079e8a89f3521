"""The dead letters of a simulated outcome store."""

from __future__ import annotations

from dataclasses import replace

from core import cursors
from core.ports import DeadLetter, DeadPage


class Letters:
    """By id. They never expire."""

    def __init__(self, letters: dict[str, DeadLetter] | None = None) -> None:
        self.by_id = letters or {}

    def copy(self) -> Letters:
        return Letters(dict(self.by_id))

    def bury(self, letter: DeadLetter) -> None:
        """Keep a letter that exists already, unless it was replayed since."""
        known = self.by_id.get(letter.dead_id)
        if known is None or known.replayed_at is not None:
            self.by_id[letter.dead_id] = replace(letter, replayed_at=None)

    def mark(self, dead_id: str, at: float) -> DeadLetter | None:
        """Note that it was replayed."""
        letter = self.by_id.get(dead_id)
        if letter is not None:
            self.by_id[dead_id] = replace(letter, replayed_at=at)
        return letter

    def page(self, queue: str | None, job_type: str | None, cursor: str | None, limit: int) -> DeadPage:
        """Newest first. Raises ValueError for a cursor that no page gave."""
        behind = None if cursor is None else _place(cursor)
        fits = [
            letter
            for letter in self.by_id.values()
            if queue in (None, letter.queue) and job_type in (None, letter.job_type) and (behind is None or _key(letter) < behind)
        ]
        fits.sort(key=_key, reverse=True)
        items = tuple(fits[:limit])
        return DeadPage(items, f"{items[-1].died_at!r}~{items[-1].dead_id}" if len(fits) > limit else None)


def _key(letter: DeadLetter) -> tuple[float, str]:
    return letter.died_at, letter.dead_id


def _place(cursor: str) -> tuple[float, str]:
    died_at, dead_id = cursors.parsed(cursor)
    return float(died_at), dead_id
