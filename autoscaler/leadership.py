"""Leadership where no other controller could lead."""

from __future__ import annotations


class Always:
    """For a controller that is the only one: local processes, or a Deployment of one replica that is recreated, not rolled."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    @property
    def leading(self) -> bool:
        return True
