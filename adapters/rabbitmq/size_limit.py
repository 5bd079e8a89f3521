"""The largest body that the broker takes, which AMQP does not tell."""

from __future__ import annotations

import re

_TOO_LARGE = re.compile(r"message size (\d+) is larger than (?:configured )?max size (\d+)")


class SizeLimit:
    """The largest body that the broker takes, in bytes; 0 is unknown. It is set, or learned from the broker's close of a
    channel."""

    def __init__(self, most: int) -> None:
        self.most = self._set = most

    def learn(self, text: str) -> None:
        if (found := _TOO_LARGE.search(text)) is not None:
            self.most = int(found[2])

    def forget(self) -> None:
        """A new connection: perhaps to a broker that was set up again."""
        self.most = self._set
