"""Jobs made from a template, on a real API server."""

from __future__ import annotations

from autoscaler.actuators.kubernetes import Kubernetes
from autoscaler.model import Pause
from autoscaler.ports import Workload
from tests.cluster.steps import aside, opened, until
from tests.servers.kubernetes import Namespace


def _seen(actuator: Kubernetes) -> Workload:
    seen = actuator.seen("job/exports")
    assert seen is not None
    return seen


async def test_jobs_are_made_and_followed_and_none_is_taken_away(namespace: Namespace) -> None:
    namespace.template("exports")
    async with opened(namespace, "job/exports") as actuator:
        assert (_seen(actuator).asked, _seen(actuator).ends_itself) == (0, True)
        await actuator.scale("job/exports", 2, [], "two jobs")
        assert _seen(actuator).asked == 2, "at once, before the watch tells it"
        await until(lambda: sum(one.ready for one in _seen(actuator).replicas) == 2)
        assert all(one.metrics.endswith(":9100/metrics") for one in _seen(actuator).replicas)
        await actuator.scale("job/exports", 0, [], "fewer")
        names = [one["metadata"]["name"] for one in (await aside(namespace.get, "jobs"))["items"]]
        assert len(names) == 2
        await aside(namespace.kubectl, "delete", "job", names[0], "--wait=false")
        await until(lambda: _seen(actuator).asked == 1)
        assert len((await aside(namespace.get, "jobs"))["items"]) <= 2
    events = namespace.get("events")["items"]
    said = [one["message"] for one in events if one["reason"] == "Scaled" and one["involvedObject"]["kind"] == "CronJob"]
    assert said == ["0 -> 2: two jobs"]
    assert [one["message"] for one in events if one["reason"] == "UnexpectedJob"] == []


async def test_a_job_that_fails_is_not_tried_again_and_goes_after_its_time(namespace: Namespace) -> None:
    """Its pod gets SIGTERM, which the container answers with an error or none: either way the Job has ended."""
    namespace.template("exports")
    async with opened(namespace, "job/exports") as actuator:
        await actuator.scale("job/exports", 1, [], "one job")
        await until(lambda: sum(one.ready for one in _seen(actuator).replicas) == 1)
        await aside(namespace.kubectl, "delete", "pod", _seen(actuator).replicas[0].name, "--wait=false")
        await until(lambda: _seen(actuator).asked == 0)
        assert _seen(actuator).replicas == ()

        def left() -> bool:
            return not namespace.get("jobs")["items"]

        await until(left, 30.0, 0.5)


async def test_a_pause_a_quota_and_a_node_without_room_are_told(namespace: Namespace) -> None:
    namespace.template("exports", cpu="1000")
    async with opened(namespace, "job/exports") as actuator:
        await aside(namespace.kubectl, "annotate", "cronjob/exports", "headrace/pause=out")
        await until(lambda: _seen(actuator).pause is Pause.OUT)
        await actuator.scale("job/exports", 1, [], "one job")
        await until(lambda: "Insufficient cpu" in _seen(actuator).unschedulable)
        await aside(namespace.kubectl, "create", "quota", "few", "--hard=pods=1")
        await until(lambda: namespace.get("quota", "few").get("status", {}).get("used"))
        await actuator.scale("job/exports", 2, [], "two jobs")
        await until(lambda: "have no pod" in _seen(actuator).unschedulable, 30.0)


async def test_what_was_made_goes_with_its_template(namespace: Namespace) -> None:
    namespace.template("exports")
    async with opened(namespace, "job/exports") as actuator:
        await actuator.scale("job/exports", 2, [], "two jobs")
        await until(lambda: len(_seen(actuator).replicas) == 2)
        await aside(namespace.kubectl, "delete", "cronjob/exports")
        await until(lambda: actuator.seen("job/exports") is None)
        await until(lambda: not namespace.get("jobs")["items"], 30.0, 0.5)
