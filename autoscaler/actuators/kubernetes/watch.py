"""The present state of a selection of objects: one list, then a watch that goes on where it ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Generic, TypeVar

from autoscaler.actuators.kubernetes.api import Api, ApiFailure, Json, Resource
from core.clock import Clock
from telemetry import logs
from telemetry.supervisor import Beat

_log = logs.get("kubernetes")

# Full jitter up to 0.2 s, 0.4 s ... 5 s: an API server that restarts is not met by all watches at once.
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0
_LIST_TIMEOUT = 5.0
# A watch that ends sooner than this was no watch: the next one waits like after an error.
_SHORTEST = 1.0
# Seconds of the first watch after an error, so that its bookmark soon tells whether the view is current.
_PROBE = 3

Kept = TypeVar("Kept")


class Watch(Generic[Kept]):
    """Keeps what `keep` makes of each object, by name. changed: called after each change.

    period: seconds after which the server ends the watch, which begins again where it was. In quiet times a server sends a bookmark
    every minute and 2 s before such an end, and nothing else: the period is what bounds the age of `at`, the steady second of the
    last word on this very connection, or -inf. 10 s is less than the 15 s at which a policy calls figures unknown, and long enough
    that 600 watches make 60 requests a second.
    """

    def __init__(
        self,
        api: Api,
        of: Resource,
        query: Mapping[str, str],
        keep: Callable[[Json], Kept],
        clock: Clock,
        *,
        changed: Callable[[], None] | None = None,
        period: float = 10.0,
    ) -> None:
        self._api, self._of, self._query, self._keep, self._clock = api, of, dict(query), keep, clock
        self._changed = changed
        self._period = period
        self._version = ""  # resourceVersion to go on from; "" asks for a list
        self.objects: dict[str, Kept] = {}
        self.at = float("-inf")
        self.down: str | None = "not listed yet"

    @property
    def listed(self) -> bool:
        return self.at > float("-inf")

    @property
    def version(self) -> str:
        """The resourceVersion up to which all events have been passed on, or "" where the objects have to be listed."""
        return self._version

    @property
    def patience(self) -> float:
        """Seconds without a sign of life after which it hangs: a list and a watch that both take all of their time are less."""
        return max(30.0, 3 * self._period)

    async def run(self, beat: Beat = lambda: None) -> None:
        """For ever: for a Supervisor."""
        pause = _FIRST_PAUSE
        while True:
            beat()
            began = self._clock.steady()
            reason, gone = await self._once()
            if gone:
                self._version, pause = "", _FIRST_PAUSE  # a server that can say so can list
            if self.at - began >= _SHORTEST:  # it was of use
                pause = _FIRST_PAUSE
                if not reason:
                    continue
            if reason and reason != self.down:
                _log.warning("a watch ended; trying again", of=str(self._of), query=self._query, why=reason)
            self.down = reason or self.down
            await asyncio.sleep(random.uniform(0.05, pause))
            pause = min(pause * 2, _LAST_PAUSE)

    async def _once(self) -> tuple[str, bool]:
        """One list, where one is needed, and one watch. Why it ended, "" for its time; and whether only a list can help."""
        try:
            if not self._version:
                await self._list()
            await self._stream()
        except ApiFailure as error:
            # 410: the version is older than what the server remembers. 400: it is from another server's life.
            return str(error), error.status in (400, 410)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return f"an answer that is none: {type(error).__name__}: {error}", True
        return "", False

    async def _list(self) -> None:
        answer = await self._api.call("list", self._of, query=self._query, timeout=_LIST_TIMEOUT)
        self.objects = {item["metadata"]["name"]: self._keep(item) for item in answer["items"]}
        self._version = str(answer["metadata"]["resourceVersion"])
        self._proved()
        self._tell()

    async def _stream(self) -> None:
        """Being accepted proves nothing: a version that is too old is refused in the first event."""
        began, seconds = self._clock.steady(), _PROBE if self.down else max(1, round(random.uniform(0.8, 1.0) * self._period))
        query = {**self._query, "resourceVersion": self._version}
        async with aclosing(self._api.watch(self._of, query, seconds)) as events:
            async for event in events:
                self._take(event["type"], event["object"])
                self._proved()
        if self._clock.steady() - began >= _SHORTEST:
            self._proved()

    def _take(self, kind: str, item: Json) -> None:
        self._version = str(item["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            return
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = self._keep(item)
        self._tell()

    def _proved(self) -> None:
        self.at = self._clock.steady()
        self.down = None

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()
