"""How soon a replica that takes one delivery follows those that failed: one that cannot start would be started every second."""

from __future__ import annotations

from typing import Final

# After 2 s, 4 s ... a minute, counted from the last failure. One that ends well begins again with the first.
_FIRST, _LAST = 2.0, 60.0
# A job that kills its process is its queue's business; this number of failures in a row is reported to the operator.
_TOLD_AFTER: Final = 3


class Pace:
    def __init__(self) -> None:
        self._failures = 0
        self._last = float("-inf")

    def ended(self, now: float, *, well: bool) -> None:
        """now: steady seconds."""
        if well:
            self._failures = 0
        else:
            self._failures += 1
            self._last = now

    def holds(self, now: float) -> bool:
        """Whether none is to be started now."""
        return bool(self._failures) and now - self._last < min(_FIRST * 2.0 ** min(self._failures - 1, 10), _LAST)

    @property
    def failure(self) -> str:
        """A message to the operator, or ""."""
        told = self._failures >= _TOLD_AFTER
        return f"the last {self._failures} ended with an error, and are started ever less often: see their logs" if told else ""
