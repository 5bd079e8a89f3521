"""Cursors of the pages of dead letters: when the last one of a page died, and its id."""

from __future__ import annotations

import math
import re

# As Python and Redis both write numbers. float() also takes underscores, blanks and the digits of all scripts; a server does not.
_CURSOR = re.compile(r"(-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:e[+-]?[0-9]{1,3})?)~(.+)", re.DOTALL)


def parsed(cursor: str) -> tuple[str, str]:
    """The time, as a number's text, and the id. Raises ValueError for what no page gave."""
    found = _CURSOR.fullmatch(cursor)
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError("no page gave this cursor")
    return found[1], found[2]
