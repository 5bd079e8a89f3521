"""Kubernetes Events on workloads, so that `kubectl describe` says who scaled and why. They may be lost, and delay nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from autoscaler.actuators.kubernetes.api import Api, ApiFailure, Json, Resource
from autoscaler.actuators.kubernetes.objects import Reference
from core.clock import Clock, rfc3339
from telemetry import logs
from telemetry.supervisor import Beat

_log = logs.get("kubernetes")

_EVENTS: Final = Resource("", "v1", "events")
# At most 10 in a minute for each workload: a controller that flaps does not fill etcd, which keeps events for an hour.
_MOST, _MINUTE = 10, 60.0
_WAITING = 100
_TIMEOUT = 2.0
_LONGEST = 1024  # characters of a message; the API server takes no more
_SAY_EVERY = 60.0
_SIGN_OF_LIFE = 5.0


class Events:
    """Writes them one after another, in the background."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._queue: asyncio.Queue[Json] = asyncio.Queue(_WAITING)
        self._sent: dict[Reference, deque[float]] = {}
        self._say = logs.OncePer(_SAY_EVERY)

    def record(self, workload: Reference, uid: str, reason: str, text: str, *, warning: bool = False) -> bool:
        """Have one written. reason: CamelCase. False: it was not taken, because there have been too many."""
        now, sent = self._clock.steady(), self._sent.setdefault(workload, deque(maxlen=_MOST))
        if self._queue.full() or (len(sent) == _MOST and now - sent[0] < _MINUTE):
            return False
        sent.append(now)
        self._queue.put_nowait(self._event(workload, uid, reason, text, "Warning" if warning else "Normal"))
        return True

    async def run(self, beat: Beat) -> None:
        """For ever: for a Supervisor."""
        while True:
            beat()
            try:
                async with asyncio.timeout(_SIGN_OF_LIFE):
                    event = await self._queue.get()
            except TimeoutError:
                continue
            try:
                await self._api.call("create", _EVENTS, body=event, timeout=_TIMEOUT)
            except ApiFailure as error:
                if self._say(self._clock.steady()):
                    _log.warning("an event was not recorded", why=str(error), message=event["message"])

    def _event(self, workload: Reference, uid: str, reason: str, text: str, kind: str) -> Json:
        at = rfc3339(self._clock.wall())
        involved = {
            "apiVersion": f"{workload.resource.group}/{workload.resource.version}",
            "kind": workload.title,
            "name": workload.name,
            "namespace": self._api.namespace,
            "uid": uid,
        }
        return {
            "metadata": {"generateName": f"{workload.name[:200]}.", "namespace": self._api.namespace},
            "involvedObject": involved,
            "reason": reason,
            "message": text[:_LONGEST],
            "type": kind,
            "count": 1,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "source": {"component": "headrace"},
            "reportingComponent": "headrace",
        }
