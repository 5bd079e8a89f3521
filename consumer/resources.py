"""The resources that handlers need, opened once a process and closed at its end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from telemetry import logs

_log = logs.get("consumer")

# How long all closers together may take at the end of the program. Seconds.
_CLOSE_WITHIN = 15.0


class Resources:
    """An async context manager: opens the wanted types, and closes them in the opposite order; plain generators in threads."""

    def __init__(self, openers: dict[type, Callable[..., Any]], wanted: Iterable[type]) -> None:
        self._openers = {kind: openers[kind] for kind in sorted(wanted, key=lambda kind: kind.__qualname__)}
        self._stack = AsyncExitStack()
        self._open: dict[type, Any] = {}

    async def __aenter__(self) -> Resources:
        try:
            await self.open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def open(self) -> None:
        """Open all. Of a start that is broken off, `__aexit__` closes what was opened."""
        for kind, opener in self._openers.items():
            self._open[kind] = await self._enter(opener)

    async def __aexit__(self, *_: object) -> None:
        """Close in the task that opened, as some libraries ask for. A closer's error is logged, and does not stop the closing."""
        try:
            async with asyncio.timeout(_CLOSE_WITHIN):
                await self._stack.aclose()
        except Exception as error:
            _log.error("a handler's resource could not be closed", why=logs.brief(error))

    def arguments(self, injected: dict[str, type]) -> dict[str, Any]:
        """The keyword arguments of a handler."""
        return {name: self._open[kind] for name, kind in injected.items()}

    async def _enter(self, opener: Callable[..., Any]) -> Any:
        if inspect.isasyncgenfunction(opener):
            return await self._stack.enter_async_context(asynccontextmanager(opener)())
        return await self._stack.enter_async_context(_in_threads(opener))


@asynccontextmanager
async def _in_threads(opener: Callable[..., Any]) -> AsyncIterator[Any]:
    """A plain generator may wait for its server, and would hold up probes and signals."""
    resource = contextmanager(opener)()
    yield await asyncio.to_thread(resource.__enter__)
    await asyncio.to_thread(resource.__exit__, None, None, None)
