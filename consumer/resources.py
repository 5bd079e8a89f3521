"""What handlers need, opened once a process and closed at its end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any


class Resources:
    """An async context manager: opens the wanted types, and closes them in the opposite order."""

    def __init__(self, openers: dict[type, Callable[..., Any]], wanted: Iterable[type]) -> None:
        self._openers = {kind: openers[kind] for kind in sorted(wanted, key=lambda kind: kind.__qualname__)}
        self._stack = AsyncExitStack()
        self._open: dict[type, Any] = {}

    async def __aenter__(self) -> Resources:
        try:
            for kind, opener in self._openers.items():
                self._open[kind] = await self._enter(opener)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def arguments(self, injected: dict[str, type]) -> dict[str, Any]:
        """The keyword arguments of a handler."""
        return {name: self._open[kind] for name, kind in injected.items()}

    async def _enter(self, opener: Callable[..., Any]) -> Any:
        if inspect.isasyncgenfunction(opener):
            return await self._stack.enter_async_context(asynccontextmanager(opener)())
        return self._stack.enter_context(contextmanager(opener)())
