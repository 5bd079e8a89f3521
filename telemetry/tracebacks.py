"""Exceptions for logs and records: what was raised where, without local variables, bounded in every direction.

An exception is somebody else's: its text may be a server's whole answer, its causes a chain of thousands, its groups nested a
hundred deep. The standard library and structlog need seconds for those, or end in a RecursionError of their own.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from core.masking import masked, masked_beginning
from core.text import safe, safe_end, text_of

# Characters of one exception's text.
MOST_TEXT = 2000
# Of one exception the frames next to where it was raised; notes; exceptions of a group.
_FRAMES, _NOTES, _GROUP = 20, 5, 5
# Exceptions in all, those of groups included, and how deep a group is looked into.
_EXCEPTIONS, _DEPTH = 20, 3


class _Raised(NamedTuple):
    """One exception. cause: whether the one before it in its chain was raised `from` this one. others: not shown, of a group."""

    kind: str
    text: str
    notes: Sequence[str]
    cause: bool
    frames: Sequence[traceback.FrameSummary]
    group: Sequence[Sequence[_Raised]]
    others: int


def as_dicts(error: BaseException | None) -> list[dict[str, Any]]:
    """For JSON, in the form that structlog gives them."""
    return [_dict(one) for one in _whole(error)]


def as_text(error: BaseException | None, most: int) -> str:
    """As Python writes it, the first cause first: the end, at most `most` characters."""
    lines = "".join(_lines(_whole(error), ""))
    return safe_end(masked(lines[-8 * most :]), most)


def _whole(error: BaseException | None) -> list[_Raised]:
    """An exception, then what it came from, and so on."""
    return _chain(error, _DEPTH, iter(range(_EXCEPTIONS)))


def _chain(error: BaseException | None, depth: int, left: Iterator[int]) -> list[_Raised]:
    found: list[_Raised] = []
    seen, cause = set[int](), False
    while error is not None and id(error) not in seen and next(left, None) is not None:
        seen.add(id(error))
        found.append(_raised(error, cause, depth, left))
        cause = error.__cause__ is not None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def _raised(error: BaseException, cause: bool, depth: int, left: Iterator[int]) -> _Raised:
    notes = getattr(error, "__notes__", None)
    several = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    group = [chain for one in several[:_GROUP] if depth and (chain := _chain(one, depth - 1, left))]
    return _Raised(
        safe(type(error).__qualname__, 200),
        text_of(error, MOST_TEXT),
        [safe(masked_beginning(note, MOST_TEXT), MOST_TEXT) for note in notes[:_NOTES] if isinstance(note, str)]
        if isinstance(notes, list)
        else [],
        cause,
        _frames(error.__traceback__),
        group,
        len(several) - len(group),
    )


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(trace, limit=-_FRAMES))


def _dict(one: _Raised) -> dict[str, Any]:
    return {
        "exc_type": one.kind,
        "exc_value": one.text,
        "exc_notes": list(one.notes),
        "is_cause": one.cause,
        "frames": [{"filename": frame.filename, "lineno": frame.lineno, "name": frame.name} for frame in one.frames],
        "is_group": bool(one.group or one.others),
        "exceptions": [[_dict(of) for of in chain] for chain in one.group],
    }


def _lines(chain: Sequence[_Raised], indent: str) -> Iterator[str]:
    for place, one in reversed(list(enumerate(chain))):
        if one.frames:
            yield f"{indent}Traceback (most recent call last):\n"
        for text in traceback.format_list(one.frames):
            yield from (f"{indent}{line}\n" for line in text.splitlines())
        for text in (f"{one.kind}: {one.text}" if one.text else one.kind, *one.notes):
            yield from (f"{indent}{line}\n" for line in text.splitlines())
        for number, of in enumerate(one.group, 1):
            yield f"{indent}  ---- {number} of {len(one.group) + one.others} ----\n"
            yield from _lines(of, indent + "  ")
        if place:
            how = "was the direct cause of this one" if one.cause else "was being handled when this one was raised"
            yield f"\n{indent}The exception above {how}:\n\n"
