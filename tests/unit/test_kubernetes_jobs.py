"""Jobs made from a template, against an API server that keeps objects, tells of them late and loses answers if a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from autoscaler.actuators.kubernetes import ApiFailure, Kubernetes
from autoscaler.actuators.kubernetes.api import Resource
from autoscaler.model import Pause
from autoscaler.ports import Workload
from core.errors import ActuatorError
from tests.unit.controlled import LoopClock

Json = dict[str, Any]
pytestmark = pytest.mark.looptime

TEMPLATE: Json = {
    "metadata": {"labels": {"team": "a"}, "annotations": {"why": "hours"}},
    "spec": {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 60,
        "template": {"metadata": {"labels": {"app": "exports"}}, "spec": {"restartPolicy": "Never"}},
    },
}


class Server:
    """Objects by plural. late: seconds until a watch tells of a change. loses: how many answers to creations are lost, though the
    Job is made; refuses: what a creation is refused with."""

    namespace = "here"

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {"cronjobs": {}, "jobs": {}, "pods": {}}
        self.events: list[Json] = []
        self.late = 0.0
        self.loses = 0
        self.refuses: ApiFailure | None = None
        self.creations: list[str] = []
        self._version = itertools.count(1)
        self._log: dict[str, list[tuple[float, Json]]] = {kind: [] for kind in self.objects}  # when it is sent, and what
        self._floor = 0

    def put(self, kind: str, name: str, item: Json, what: str = "MODIFIED") -> Json:
        meta = {**item["metadata"], "name": name, "uid": f"uid-{name}", "resourceVersion": str(next(self._version))}
        made = {**item, "metadata": meta}
        if what == "DELETED":
            del self.objects[kind][name]
        else:
            self.objects[kind][name] = made
        self._log[kind].append((asyncio.get_running_loop().time() + self.late, {"type": what, "object": made}))
        return made

    def forget(self) -> None:
        """Drop the earlier events: a watch that has not had them has to list."""
        self._floor = next(self._version)
        for log in self._log.values():
            log.clear()

    def template(self, name: str = "exports", **notes: str) -> None:
        spec = {"suspend": True, "schedule": "0 0 31 2 *", "jobTemplate": TEMPLATE}
        self.put(
            "cronjobs",
            name,
            {"metadata": {"annotations": {f"headrace/{key}": value for key, value in notes.items()}}, "spec": spec},
        )

    def pod(self, job: str, phase: str = "Running", message: str = "") -> None:
        """The status that the Job controller and the kubelet give a Job."""
        labels = {**self.objects["jobs"][job]["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": job}
        conditions = [{"type": "Ready", "status": "True" if phase == "Running" else "False"}]
        conditions += (
            [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}] if message else []
        )
        status = {"phase": phase, "podIP": "10.0.0.1", "conditions": conditions}
        self.put("pods", f"{job}-abcde", {"metadata": {"labels": labels}, "spec": {}, "status": status})

    def end(self, job: str, how: str = "Complete") -> None:
        conditions = [{"type": how, "status": "True"}]
        self.put("jobs", job, {**self.objects["jobs"][job], "status": {"conditions": conditions}})

    async def call(
        self, verb: str, of: Resource, name: str = "", body: Json | None = None, query: Any = None, *, timeout: float
    ) -> Json:
        await asyncio.sleep(0.01)
        if verb == "list":
            items = [item for item in self.objects.get(of.plural, {}).values() if _selected(item, query)]
            return {"metadata": {"resourceVersion": str(next(self._version))}, "items": items}
        assert verb == "create"
        assert body is not None
        if of.plural == "events":
            self.events.append(body)
            return body
        return await self._create(body)

    async def _create(self, body: Json) -> Json:
        name = body["metadata"]["name"]
        self.creations.append(name)
        if self.refuses is not None:
            raise self.refuses
        if name in self.objects["jobs"]:
            raise ApiFailure(409, "the API server refused to create jobs.batch: 409 already exists")
        made = self.put("jobs", name, body, "ADDED")
        if self.loses:
            self.loses -= 1
            raise ApiFailure(0, "the API server did not answer")
        return made

    async def watch(self, of: Resource, query: Mapping[str, str], seconds: int) -> AsyncIterator[Json]:
        version, ends = int(query["resourceVersion"]), asyncio.get_running_loop().time() + seconds
        while (now := asyncio.get_running_loop().time()) < ends:
            if version < self._floor:
                raise ApiFailure(410, "too old")
            for at, event in list(self._log[of.plural]):
                if at <= now and int(event["object"]["metadata"]["resourceVersion"]) > version:
                    version = int(event["object"]["metadata"]["resourceVersion"])
                    if _selected(event["object"], query):
                        yield event
            await asyncio.sleep(0.05)


def _selected(item: Json, query: Mapping[str, str]) -> bool:
    if field := query.get("fieldSelector"):
        return bool(item["metadata"]["name"] == field.removeprefix("metadata.name="))
    key, _, value = query["labelSelector"].partition("=")
    return bool((item["metadata"].get("labels") or {}).get(key) == value)


@contextlib.asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Kubernetes]:
    actuator = Kubernetes(server, ["job/exports"], metrics_port=8081, clock=LoopClock())  # type: ignore[arg-type]  # what is used of it
    await actuator.open()
    try:
        yield actuator
    finally:
        await actuator.close()


def seen(actuator: Kubernetes) -> Workload:
    found = actuator.seen("job/exports")
    assert found is not None
    return found


async def test_missing_jobs_are_made_from_the_template_and_none_is_taken_away() -> None:
    server = Server()
    server.template()
    async with opened(server) as actuator:
        assert (seen(actuator).asked, seen(actuator).ends_itself) == (0, True)
        await actuator.scale("job/exports", 3, [], "three jobs")
        assert seen(actuator).asked == 3, "before the watch tells"
        await asyncio.sleep(1.0)
        assert (seen(actuator).asked, len(server.objects["jobs"])) == (3, 3)
        await actuator.scale("job/exports", 1, [], "fewer")
        assert len(server.creations) == 3
        name, job = next(iter(server.objects["jobs"].items()))
        assert name.startswith("exports-")
        assert job["metadata"]["labels"] == {"team": "a", "headrace/made-from": "exports"}
        assert job["metadata"]["annotations"] == {"why": "hours"}
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "exports", "uid": "uid-exports"}
        assert job["metadata"]["ownerReferences"] == [owner]
        assert job["spec"]["template"]["metadata"]["labels"] == {"app": "exports", "headrace/made-from": "exports"}
        assert (job["spec"]["backoffLimit"], job["spec"]["template"]["spec"]) == (0, {"restartPolicy": "Never"})


async def test_names_are_within_what_kubernetes_takes() -> None:
    server, long = Server(), "e" * 52
    server.template(long)
    actuator = Kubernetes(server, [f"job/{long}"], clock=LoopClock())  # type: ignore[arg-type]  # what is used of it
    await actuator.open()
    await actuator.scale(f"job/{long}", 50, [], "many")
    assert {len(name) for name in server.creations} == {63}
    assert len(set(server.creations)) == 50
    await actuator.close()


async def test_a_job_is_one_replica_until_its_pod_has_succeeded() -> None:
    """The Job says so a moment later: it is no replica that is missing meanwhile."""
    server = Server()
    server.template()
    async with opened(server) as actuator:
        await actuator.scale("job/exports", 2, [], "two jobs")
        one, other = server.creations
        server.pod(one)
        server.pod(other, "Pending")
        await asyncio.sleep(0.1)
        assert [(r.ready, r.metrics) for r in seen(actuator).replicas] == [
            (True, "http://10.0.0.1:8081/metrics"),
            (False, "http://10.0.0.1:8081/metrics"),
        ]
        server.pod(one, "Succeeded")
        await asyncio.sleep(0.1)
        assert (seen(actuator).asked, len(seen(actuator).replicas)) == (1, 1)
        server.end(one)
        server.end(other, "Failed")
        server.pod(other, "Failed")
        await asyncio.sleep(0.1)
        assert (seen(actuator).asked, seen(actuator).replicas) == (0, ())
        await asyncio.sleep(2.0)
        await actuator.scale("job/exports", 1, [], "one more")
        await asyncio.sleep(0.1)
        assert seen(actuator).asked == 1
        server.put("jobs", server.creations[-1], server.objects["jobs"][server.creations[-1]], "DELETED")
        await asyncio.sleep(0.1)
        assert seen(actuator).asked == 0


async def test_lost_answers_make_no_second_job() -> None:
    """Each is asked for again by the name that it has, also while the watch tells nothing of it."""
    server = Server()
    server.template()
    async with opened(server) as actuator:
        server.late, server.loses = 30.0, 5
        for _ in range(20):
            with contextlib.suppress(ActuatorError):
                await actuator.scale("job/exports", 5, [], "five jobs")
            await asyncio.sleep(1.0)
        assert len(server.objects["jobs"]) == 5
        await asyncio.sleep(40.0)
        assert seen(actuator).asked == 5
        server.late = 0.0
        await actuator.scale("job/exports", 6, [], "one more")
        await asyncio.sleep(1.0)
        assert (seen(actuator).asked, len(server.objects["jobs"])) == (6, 6)


async def test_a_job_that_was_made_and_is_gone_before_the_watch_tells_is_not_counted_for_ever() -> None:
    server = Server()
    server.template()
    async with opened(server) as actuator:
        server.late = 3600.0
        await actuator.scale("job/exports", 1, [], "one job")
        made = server.creations[0]
        server.put("jobs", made, server.objects["jobs"][made], "DELETED")
        await asyncio.sleep(2.0)
        assert seen(actuator).asked == 1, "nothing was told"
        server.forget()
        await asyncio.sleep(1.0)
        assert seen(actuator).asked == 0


async def test_a_quota_and_a_pod_without_a_node_are_told() -> None:
    server = Server()
    server.template()
    async with opened(server) as actuator:
        server.refuses = ApiFailure(403, "the API server refused to create jobs.batch: 403 exceeded quota: few")
        with pytest.raises(ActuatorError, match="exceeded quota"):
            await actuator.scale("job/exports", 2, [], "two jobs")
        assert "exceeded quota" in seen(actuator).unschedulable
        await asyncio.sleep(15.0)
        assert seen(actuator).unschedulable == "", "nobody has asked since"
        server.refuses = None
        await actuator.scale("job/exports", 2, [], "two jobs")
        await asyncio.sleep(1.0)
        assert seen(actuator).unschedulable == ""
        await asyncio.sleep(6.0)
        assert seen(actuator).unschedulable.startswith("2 Jobs have no pod")
        for name in server.objects["jobs"]:
            server.pod(name, "Pending", "Insufficient cpu")
        await asyncio.sleep(0.1)
        assert seen(actuator).unschedulable == "2 pods find no node: Insufficient cpu"
        assert seen(actuator).unready == "2 pods: Unschedulable: Insufficient cpu"


async def test_a_pause_is_an_annotation_of_the_template_and_without_one_nothing_is_known() -> None:
    server = Server()
    async with opened(server) as actuator:
        assert actuator.seen("job/exports") is None
        with pytest.raises(ActuatorError, match="job/exports in namespace here does not exist"):
            await actuator.scale("job/exports", 1, [], "one job")
        server.template(pause="out")
        await asyncio.sleep(1.0)
        assert seen(actuator).pause is Pause.OUT
        server.template()
        await asyncio.sleep(0.1)
        assert seen(actuator).pause is Pause.NONE


async def test_jobs_that_fail_one_after_the_other_are_made_ever_less_often_and_told() -> None:
    server = Server()
    server.template()
    async with opened(server) as actuator:
        for _ in range(600):
            await actuator.scale("job/exports", 1, [], "one job")
            await asyncio.sleep(1.0)
            for name in list(server.objects["jobs"]):
                server.end(name, "Failed")
        assert len(server.creations) < 20, "after 2, 4 ... 60 s"
        assert "ended with an error" in seen(actuator).unschedulable
        await asyncio.sleep(60.0)
        await actuator.scale("job/exports", 1, [], "one job")
        server.end(server.creations[-1])
        await asyncio.sleep(0.1)
        assert seen(actuator).unschedulable == ""
        await actuator.scale("job/exports", 1, [], "one job")
        assert seen(actuator).asked == 1, "one that ends well begins anew"


async def test_who_takes_over_sees_the_jobs_that_there_are() -> None:
    server = Server()
    server.template()
    async with opened(server) as actuator:
        await actuator.scale("job/exports", 5, [], "five jobs")
        for name in server.creations[:4]:
            server.end(name, "Failed")
    async with opened(server) as actuator:
        assert (seen(actuator).asked, seen(actuator).unschedulable) == (1, ""), "what failed before says nothing of now"
        await actuator.scale("job/exports", 2, [], "two jobs")
        assert seen(actuator).asked == 2


async def test_what_was_done_is_an_event_on_the_template() -> None:
    server = Server()
    server.template()
    async with opened(server) as actuator:
        await actuator.scale("job/exports", 2, [], "two jobs")
        await actuator.scale("job/exports", 1, [], "fewer")
        await asyncio.sleep(1.0)
        (event,) = server.events
        involved = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "exports", "namespace": "here", "uid": "uid-exports"}
        assert (event["involvedObject"], event["message"]) == (involved, "0 -> 2: two jobs")
