"""Deployments, StatefulSets and Jobs of one namespace, through the API server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Sequence

from autoscaler.actuators.kubernetes.api import Api, ApiFailure, Json
from autoscaler.actuators.kubernetes.events import Events
from autoscaler.actuators.kubernetes.followed import PODS, Followed
from autoscaler.actuators.kubernetes.jobs import Templated
from autoscaler.actuators.kubernetes.objects import DELETION_COST, Pod, Reference, Target, costs
from autoscaler.actuators.kubernetes.rivals import PATIENCE, Rivals
from autoscaler.ports import Workload
from core.clock import Clock, SystemClock
from core.errors import ActuatorError
from telemetry.supervisor import Supervised, Supervisor

# The workload's own status moves its resourceVersion some times a second while pods start: six tries pass between.
_TRIES, _FIRST_PAUSE, _LAST_PAUSE = 6, 0.05, 0.4
_MARKED_AT_ONCE = 10  # pods; the API server's own limit for one client is not reached
_OPEN_TIMEOUT = 5.0


class Kubernetes:
    """The Actuator port. A terminating pod is a replica that is not ready: it still finishes its jobs.

    workloads: each `name` (a Deployment), `deployment/name`, `statefulset/name`, or `job/name` with the name of a CronJob; the same
    text names it in every call.
    metrics_port: of pods without the annotation headrace/metrics-port, on the pod or its workload; 0 is none.
    timeout: seconds in which `scale` is done or has failed. It is less than the part of a lease that its holder does not use, so
    that what a leader began is over when another one leads.
    period: seconds that a view's `at` may be old while all is well (see Watch).
    """

    def __init__(
        self,
        api: Api,
        workloads: Iterable[str],
        *,
        metrics_port: int = 0,
        timeout: float = 4.0,
        period: float = 10.0,
        clock: Clock | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._supervisor = supervisor or Supervisor()
        self._api = api
        self._timeout = timeout
        self._followed = {name: _followed(api, name, clock, metrics_port, period, self._supervisor) for name in workloads}
        self._rivals = Rivals(api)
        self._events = Events(api, clock)
        self._running: list[Supervised] = []

    async def open(self) -> None:
        """Begin to follow; returns when all workloads were looked for, or after 5 s: the watches go on trying."""
        self._running = [
            self._supervisor.start("rivals", self._rivals.run, patience=PATIENCE),
            self._supervisor.start("events", self._events.run),
        ]
        for one in self._followed.values():
            one.begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_TIMEOUT):
                for one in self._followed.values():
                    await one.known.wait()

    async def close(self) -> None:
        """The API that was given stays open."""
        for one in self._followed.values():
            await one.end()
        await asyncio.gather(*(one.stop() for one in self._running))

    def seen(self, workload: str) -> Workload | None:
        return self._followed[workload].seen()

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        one = self._followed[workload]
        try:
            async with asyncio.timeout(self._timeout):
                was = await self._scale(one, replicas, idlest)
        except TimeoutError as error:
            raise ActuatorError(
                f"{one.reference} was not set to {replicas} within {self._timeout:g} s: see the API server"
            ) from error
        if was is not None:
            self.record(workload, "Scaled", f"{was} -> {replicas}: {why}")

    def record(self, workload: str, reason: str, text: str, *, warning: bool = False) -> None:
        """A Kubernetes Event on the workload, in the background; at most 10 a minute. reason: CamelCase."""
        one = self._followed[workload]
        now = one.target
        if now is not None:
            self._events.record(one.reference, now.uid, reason, text, warning=warning)

    async def _scale(self, one: Followed | Templated, replicas: int, idlest: Sequence[str]) -> int | None:
        """Returns the replicas that it was set to before; None where nothing was done."""
        if isinstance(one, Templated):
            return await one.make(replicas, self._timeout)
        await self._rivals.refuse(one.reference)
        now = one.target
        if now is None:
            why = f"cannot be seen ({one.down})" if one.down else "does not exist: create it, or correct the settings"
            raise ActuatorError(f"{one.reference} in namespace {self._api.namespace} {why}")
        if (
            0 < replicas < now.asked and one.reference.kind == "deployment"
        ):  # a StatefulSet takes the last; of none left, none is first
            await self._mark(_candidates(one.pods, idlest, now.asked - replicas), one.pods)
        await self._patch(one, now, replicas)
        return now.asked

    async def _patch(self, one: Followed, began: Target, replicas: int) -> None:
        """Set the scale that was decided upon. Another writer's change ends it: the decision was about something else."""
        version = began.version
        for attempt in range(_TRIES):
            try:
                body: Json = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
                one.wrote(await self._call(one, "patch", body))
            except ApiFailure as error:
                if error.status != 409:
                    raise
            else:
                return
            await asyncio.sleep(random.uniform(0.0, min(_FIRST_PAUSE * 2**attempt, _LAST_PAUSE)))
            current = await self._call(one, "get")
            one.wrote(current)
            if _done(one, began, current, replicas):
                return
            version = current["metadata"]["resourceVersion"]
        raise ActuatorError(
            f"{one.reference} was changed by another writer at each of {_TRIES} tries: find out who, with --show-managed-fields"
        )

    async def _call(self, one: Followed, verb: str, body: Json | None = None) -> Json:
        return await self._api.call(verb, one.reference.scale, one.reference.name, body, timeout=self._timeout)

    async def _mark(self, candidates: Sequence[Pod], pods: Iterable[Pod]) -> None:
        """Give the candidates the lowest deletion costs of all, in their order. No other pod is touched."""
        names = {pod.name for pod in candidates}
        wanted = costs(candidates, [pod for pod in pods if pod.name not in names])
        gate = asyncio.Semaphore(_MARKED_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for pod in candidates:
                    if pod.cost != wanted[pod.name]:
                        group.create_task(self._cost(gate, pod.name, wanted[pod.name]))
        except* ApiFailure as errors:
            raise errors.exceptions[0] from None

    async def _cost(self, gate: asyncio.Semaphore, pod: str, cost: int) -> None:
        async with gate:
            try:
                body: Json = {"metadata": {"annotations": {DELETION_COST: str(cost)}}}
                await self._api.call("patch", PODS, pod, body, timeout=self._timeout)
            except ApiFailure as error:
                if error.status != 404:  # it has gone already
                    raise


def _followed(api: Api, name: str, clock: Clock, metrics_port: int, period: float, supervisor: Supervisor) -> Followed | Templated:
    kind = Templated if Reference.of(name).kind == "job" else Followed
    return kind(api, name, clock, metrics_port, period, supervisor)


def _candidates(pods: Iterable[Pod], idlest: Sequence[str], surplus: int) -> list[Pod]:
    """As many as there are too many, the idlest first; those that are leaving already are not counted."""
    staying = {pod.name: pod for pod in pods if not pod.leaving}
    return [staying[name] for name in dict.fromkeys(idlest) if name in staying][:surplus]


def _done(one: Followed, began: Target, current: Json, replicas: int) -> bool:
    """Whether it is set so already. Raises ActuatorError when it is no longer what was decided about."""
    asked = int(current["spec"].get("replicas") or 0)
    if current["metadata"]["uid"] != began.uid:
        raise ActuatorError(f"{one.reference} was deleted and made anew meanwhile: decide again")
    if asked not in (began.asked, replicas):
        raise ActuatorError(f"{one.reference} was set to {asked} by another writer, from {began.asked}, meanwhile: decide again")
    return asked == replicas
