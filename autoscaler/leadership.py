"""Who acts, where there is only one controller."""

from __future__ import annotations


class Always:
    """The only controller there is."""

    leading = True

    async def open(self) -> None:
        """Nothing to win."""

    async def close(self) -> None:
        """Nothing to give up."""
