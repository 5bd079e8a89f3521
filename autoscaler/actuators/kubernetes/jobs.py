"""A template of Jobs, the Jobs that were made from it, and their pods, each followed by a watch.

The template is a CronJob that is suspended: nothing else in Kubernetes holds the specification of a Job that is not one yet. Each
Job is one replica, which ends with its delivery: more are made, and none is ever taken away.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from autoscaler.actuators.kubernetes.api import Api, ApiFailure, Resource
from autoscaler.actuators.kubernetes.job_objects import MADE_FROM, JobPod, State, Template, job, state
from autoscaler.actuators.kubernetes.objects import Reference, older, replica, unready, unschedulable
from autoscaler.actuators.kubernetes.watch import Watch
from autoscaler.actuators.pace import Pace
from autoscaler.ports import Workload
from core.clock import Clock
from core.errors import ActuatorError
from telemetry.supervisor import Supervised, Supervisor

JOBS: Final = Resource("batch", "v1", "jobs")
PODS: Final = Resource("", "v1", "pods")
# A Job has its pod within a second; within this number of seconds it could have had one if it may.
_PODLESS_FOR = 5.0
# A refused creation is tried again every second or so, while the Job is desired; the refusal counts for this number of seconds.
_REFUSED_FOR = 10.0
_AT_ONCE = 10  # Jobs; the API server's own limit for one client is not reached
# A CronJob's name has 52 characters at most and a Job's 63: ten of them tell 10^12 apart.
_LONGEST, _SUFFIX_BYTES = 52, 5


class Templated:
    """name: as the caller writes it, `job/NAME`. metrics_port: of pods where no annotation names one; 0 is none."""

    def __init__(self, api: Api, name: str, clock: Clock, metrics_port: int, period: float, supervisor: Supervisor) -> None:
        self._api, self._clock, self._name, self._metrics_port = api, clock, name, metrics_port
        self.reference = reference = Reference.of(name)
        made = {"labelSelector": f"{MADE_FROM}={reference.name}"}
        one = {"fieldSelector": f"metadata.name={reference.name}"}
        changed = self._changed
        self._template = Watch(api, reference.resource, one, Template.of, clock, changed=changed, period=period)
        self._jobs: Watch[State] = Watch(api, JOBS, made, state, clock, changed=self._jobs_changed, period=period)
        self._pods = Watch(api, PODS, made, JobPod.of, clock, changed=changed, period=period)
        self._supervisor = supervisor
        self._watching: list[Supervised] = []
        self._made: dict[str, str] = {}  # Jobs that the watch has not shown yet, by the version that they were made with
        self._unanswered: dict[str, None] = {}  # names of Jobs that may have been made
        self._podless: dict[str, float] = {}  # Jobs without a pod, and since when
        self._refused = ("", float("-inf"))
        self._ended: set[str] | None = None  # names of Jobs that have ended; None before the first list
        self._pace = Pace()
        self.known = asyncio.Event()  # the template was looked for, and what was made from it, if there is one

    def begin(self) -> None:
        watches: dict[str, Watch[Any]] = {"": self._template, "Jobs of ": self._jobs, "pods of ": self._pods}
        for what, watch in watches.items():
            name = f"watch of {what}{self.reference}"
            self._watching.append(self._supervisor.start(name, watch.run, patience=watch.patience))

    async def end(self) -> None:
        await asyncio.gather(*(one.stop() for one in self._watching))

    @property
    def down(self) -> str | None:
        """Why the view grows old, or None."""
        return self._template.down or self._jobs.down or self._pods.down

    @property
    def target(self) -> Template | None:
        """None: unknown, or there is none."""
        return self._template.objects.get(self.reference.name)

    def seen(self) -> Workload | None:
        now = self.target
        if now is None or not (self._jobs.listed and self._pods.listed):
            return None
        going, pods = self._going(), [one.pod for one in self._pods.objects.values() if one.pod is not None]
        return Workload(
            name=self._name,
            asked=len(going),
            replicas=tuple(replica(one, now.port or self._metrics_port) for one in pods),
            at=min(self._template.at, self._jobs.at, self._pods.at),
            pause=now.pause,
            unschedulable=unschedulable(self._failure(going), pods),
            unready=unready(pods),
            ends_itself=True,
        )

    async def make(self, replicas: int, timeout: float) -> int | None:
        """Create Jobs until `replicas` of them have not ended. Returns those that were there before, or None where none was made.

        A Job whose creation was not answered has a name already: it is asked for again by that name, and made once.
        Raises ActuatorError.
        """
        now = self.target
        if now is None or not self._jobs.listed:
            why = f"cannot be seen ({self.down})" if self.down else "does not exist: create it, or correct the settings"
            raise ActuatorError(f"{self.reference} in namespace {self._api.namespace} {why}")
        was = len(self._going())
        if replicas <= was or self._pace.holds(self._clock.steady()):
            return None
        fresh = (f"{self.reference.name[:_LONGEST]}-{secrets.token_hex(_SUFFIX_BYTES)}" for _ in range(replicas - was))
        names = [*self._unanswered, *fresh][: replicas - was]
        gate = asyncio.Semaphore(_AT_ONCE)
        done = await asyncio.gather(*(self._create(gate, now, name, timeout) for name in names), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error
        return was

    async def _create(self, gate: asyncio.Semaphore, template: Template, name: str, timeout: float) -> None:
        async with gate:
            self._unanswered[name] = None
            try:
                answer = await self._api.call("create", JOBS, body=job(name, self.reference, template), timeout=timeout)
            except ApiFailure as error:
                if error.status == 409:  # it was made before: the watch will tell, and until then its name is kept
                    return
                if 400 <= error.status < 500:
                    del self._unanswered[name]
                    self._refused = (str(error), self._clock.steady())
                raise
            del self._unanswered[name]
            self._made[name] = str(answer["metadata"]["resourceVersion"])
            self._refused = ("", float("-inf"))

    def _going(self) -> set[str]:
        """Names of the Jobs that have not ended, from the watches' events and from what we made."""
        told = self._jobs.objects
        self._made = {name: at for name, at in self._made.items() if name not in told and older(self._jobs.version, at)}
        for name in self._unanswered.keys() & told.keys():
            del self._unanswered[name]
        succeeded = {one.job for one in self._pods.objects.values() if one.succeeded}
        return ({name for name, how in told.items() if how is State.GOING} | self._made.keys()) - succeeded

    def _failure(self, going: Iterable[str]) -> str:
        """Why Jobs are not created, or have no pods: a quota is reported by an event, and in no field of theirs."""
        refused, at = self._refused
        now = self._clock.steady()
        if "quota" in refused and now - at < _REFUSED_FOR:
            return refused
        if self._pace.failure:
            return self._pace.failure
        podless = self._without_pods(going)
        self._podless = {name: self._podless.get(name, now) for name in podless}
        for_long = sum(now - since > _PODLESS_FOR for since in self._podless.values())
        return f"{for_long} Jobs have no pod: see their events, and quotas" if for_long else ""

    def _without_pods(self, going: Iterable[str]) -> Sequence[str]:
        if self.down:
            return ()
        having = {one.job for one in self._pods.objects.values()}
        return [name for name in going if name in self._jobs.objects and name not in having]

    def _jobs_changed(self) -> None:
        """Those that had ended when we came say nothing of now."""
        ended = {name for name, how in self._jobs.objects.items() if how in (State.COMPLETE, State.FAILED)}
        for name in ended - (ended if self._ended is None else self._ended):
            self._pace.ended(self._clock.steady(), well=self._jobs.objects[name] is State.COMPLETE)
        self._ended = ended
        self._changed()

    def _changed(self) -> None:
        if self._template.listed and (self.target is None or (self._jobs.listed and self._pods.listed)):
            self.known.set()
