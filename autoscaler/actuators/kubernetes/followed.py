"""One workload and its pods, each followed by a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autoscaler.actuators.kubernetes.api import Api, Json, Resource
from autoscaler.actuators.kubernetes.objects import Pod, Reference, Target, older, pod, replica, target, unready, unschedulable
from autoscaler.actuators.kubernetes.watch import Watch
from autoscaler.ports import Workload
from core.clock import Clock
from telemetry.supervisor import Supervised, Supervisor

# A StatefulSet makes a pod within a second; within this number of seconds it could have made all that it may.
_SHORT_FOR = 5.0
PODS = Resource("", "v1", "pods")


class Followed:
    """name: as the caller writes it. metrics_port: of pods where no annotation names one; 0 is none."""

    def __init__(self, api: Api, name: str, clock: Clock, metrics_port: int, period: float, supervisor: Supervisor) -> None:
        self._api, self._clock, self._period = api, clock, period
        self._name = name
        self._metrics_port = metrics_port
        self.reference = Reference.of(name)
        query = {"fieldSelector": f"metadata.name={self.reference.name}"}
        self._workload = Watch(api, self.reference.resource, query, target, clock, changed=self._changed, period=period)
        self._pods: Watch[Pod | None] | None = None
        self._selector = ""
        self._supervisor = supervisor
        self._watching: list[Supervised] = []  # the workload, and its pods
        self._written: Target | None = None
        self._short_since: float | None = None
        self.known = asyncio.Event()  # the workload was looked for, and its pods, if there is one

    def begin(self) -> None:
        self._watch(f"watch of {self.reference}", self._workload)

    async def end(self) -> None:
        await asyncio.gather(*(one.stop() for one in self._watching))

    @property
    def down(self) -> str | None:
        """Why the view grows old, or None."""
        return self._workload.down or (self._pods.down if self._pods else None)

    @property
    def target(self) -> Target | None:
        """The newest of the watch's objects and of our own writes. None: unknown, or there is none."""
        told = self._workload.objects.get(self.reference.name)
        ours = self._written
        if told is None or ours is None or ours.uid != told.uid or not older(told.version, ours.version):
            return told
        return ours

    @property
    def pods(self) -> list[Pod]:
        return [one for one in self._pods.objects.values() if one is not None] if self._pods else []

    def wrote(self, scale: Json) -> None:
        """Take a scale that we have just set, or read, before the watch tells it."""
        told = self._workload.objects.get(self.reference.name)
        if told is not None and told.uid == scale["metadata"]["uid"]:
            version, asked = str(scale["metadata"]["resourceVersion"]), int(scale["spec"].get("replicas") or 0)
            self._written = replace(told, version=version, asked=asked)

    def seen(self) -> Workload | None:
        now, pods = self.target, self._pods
        if now is None or pods is None or not pods.listed:
            return None
        mine = self.pods
        failure = now.failure or self._too_few(now.asked, mine)
        ordered = self.reference.kind == "statefulset"
        return Workload(
            name=self._name,
            asked=now.asked,
            replicas=tuple(replica(one, now.port or self._metrics_port, ordered=ordered) for one in mine),
            at=min(self._workload.at, pods.at),
            pause=now.pause,
            unschedulable=unschedulable(failure, mine),
            unready=unready(mine),
            rolling=len({one.revision for one in mine if not one.leaving}) > 1,
        )

    def _too_few(self, asked: int, pods: Sequence[Pod]) -> str:
        """A StatefulSet has no condition that tells of a quota: it has too few pods, of which none is waited for, and stays so."""
        fine = len(pods) >= asked or not all(one.ready for one in pods) or self.reference.kind != "statefulset"
        if fine or self.down:
            self._short_since = None
            return ""
        now = self._clock.steady()
        self._short_since = now if self._short_since is None else self._short_since
        short = now - self._short_since > _SHORT_FOR
        return f"{len(pods)} of {asked} pods exist, and no more are made: see the StatefulSet's events, and quotas" if short else ""

    def _changed(self) -> None:
        """A workload that is remade may select other pods."""
        now = self._workload.objects.get(self.reference.name)
        if now is None:
            self.known.set()
        elif now.selector != self._selector or self._pods is None:
            self._selector = now.selector
            self._follow(now.selector)

    def _follow(self, selector: str) -> None:
        for one in self._watching[1:]:
            self._supervisor.once(f"end of a watch of {self.reference}", one.stop())
        del self._watching[1:]
        query = {"labelSelector": selector}
        self._pods = Watch(self._api, PODS, query, pod, self._clock, changed=self.known.set, period=self._period)
        self._watch(f"watch of the pods of {self.reference}", self._pods)

    def _watch(self, name: str, watch: Watch[Any]) -> None:
        self._watching.append(self._supervisor.start(name, watch.run, patience=watch.patience))
