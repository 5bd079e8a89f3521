"""The actuator's view of a cluster, and how it scales."""

from __future__ import annotations

import asyncio
import functools
import time

import pytest

from autoscaler.actuators.kubernetes import Kubernetes, connect
from autoscaler.actuators.kubernetes.followed import Followed
from autoscaler.actuators.kubernetes.objects import DELETION_COST
from autoscaler.model import Pause
from core.errors import ActuatorError, SettingsError
from tests.cluster.steps import aside, opened, seen, until
from tests.servers.kubernetes import Namespace


def _ready(actuator: Kubernetes, count: int, name: str = "email") -> list[str]:
    """The names of its replicas when there are `count`, all ready; else none."""
    there = actuator.seen(name)
    replicas = there.replicas if there else ()
    return [one.name for one in replicas] if len(replicas) == count and all(one.ready for one in replicas) else []


def _pauses(actuator: Kubernetes, how: Pause) -> bool:
    return seen(actuator).pause is how


def _costs(namespace: Namespace) -> dict[str, str]:
    """Of the pods that stay."""
    pods = [pod for pod in namespace.get("pods")["items"] if "deletionTimestamp" not in pod["metadata"]]
    return {pod["metadata"]["name"]: pod["metadata"].get("annotations", {}).get(DELETION_COST, "") for pod in pods}


async def test_seen_follows_and_scaling_up_and_down_is_seen(namespace: Namespace) -> None:
    namespace.workload("email", 1)
    async with opened(namespace, "email") as actuator:
        assert seen(actuator).asked == 1
        await until(lambda: _ready(actuator, 1))
        assert seen(actuator).replicas[0].metrics.endswith(":9100/metrics")
        await actuator.scale("email", 3, [], "backlog 300: 1 -> 3")
        assert seen(actuator).asked == 3, "at once, before the watch tells it"
        await until(lambda: _ready(actuator, 3))
        await actuator.scale("email", 0, [], "idle")
        await until(lambda: not seen(actuator).replicas)
        assert seen(actuator).asked == 0
        await aside(namespace.kubectl, "scale", "deployment/email", "--replicas=2")
        await until(lambda: _ready(actuator, 2))
        assert time.monotonic() - seen(actuator).at < 10.0
    events = namespace.get("events")["items"]
    said = {event["message"] for event in events if event["reason"] == "Scaled" and event["involvedObject"]["name"] == "email"}
    assert said == {"1 -> 3: backlog 300: 1 -> 3", "3 -> 0: idle"}


async def test_the_idlest_go_first_and_only_candidates_are_marked(namespace: Namespace) -> None:
    namespace.workload("email", 5)
    async with opened(namespace, "email") as actuator:
        names = await until(lambda: _ready(actuator, 5))
        await actuator.scale("email", 6, names, "more")
        assert set((await aside(_costs, namespace)).values()) == {""}, "nothing is marked when it grows"
        names = await until(lambda: _ready(actuator, 6))
        busy, idle = sorted(names)[:3], sorted(names)[3:]
        await actuator.scale("email", 4, [*reversed(idle), *busy], "fewer")
        kept = await until(lambda: _ready(actuator, 4))
        assert set(kept) == {*busy, idle[0]}
        assert set((await aside(_costs, namespace)).values()) == {""}, "who stays is not marked"
        followed = actuator._followed["email"]
        assert isinstance(followed, Followed)
        # One that was marked by somebody is not among the idle now: it stays, and its mark with it.
        await aside(namespace.kubectl, "annotate", "pod", busy[0], f"{DELETION_COST}=-50")
        await until(lambda: any(pod.cost == -50 for pod in followed.pods))
        await actuator.scale("email", 2, [idle[0], busy[2], busy[1], busy[0]], "fewer")
        kept = await until(lambda: _ready(actuator, 2))
        assert set(kept) == {busy[0], busy[1]}
        assert await aside(_costs, namespace) == {busy[0]: "-50", busy[1]: ""}


async def test_a_stateful_set_is_scaled(namespace: Namespace) -> None:
    namespace.workload("store", 1, kind="StatefulSet")
    async with opened(namespace, "statefulset/store") as actuator:
        await until(lambda: _ready(actuator, 1, "statefulset/store"))
        await actuator.scale("statefulset/store", 2, [], "more")
        assert await until(lambda: sorted(_ready(actuator, 2, "statefulset/store"))) == ["store-0", "store-1"]
        await actuator.scale("statefulset/store", 1, ["store-0"], "fewer")
        assert await until(lambda: _ready(actuator, 1, "statefulset/store")) == ["store-0"]


async def test_pause_is_an_annotation(namespace: Namespace) -> None:
    namespace.workload("email", 0)
    async with opened(namespace, "email") as actuator:
        assert seen(actuator).pause is Pause.NONE
        for word, meant in (("in", Pause.IN), ("out", Pause.OUT), ("all", Pause.ALL), ("yes please", Pause.ALL)):
            await aside(namespace.kubectl, "annotate", "--overwrite", "deployment/email", f"headrace/pause={word}")
            await until(functools.partial(_pauses, actuator, meant))
            await aside(namespace.kubectl, "annotate", "deployment/email", "headrace/pause-")
            await until(lambda: seen(actuator).pause is Pause.NONE)


async def test_a_workload_that_is_deleted_is_unknown_until_it_is_remade(namespace: Namespace) -> None:
    namespace.workload("email", 0)
    async with opened(namespace, "email", "other") as actuator:
        assert seen(actuator).asked == 0
        assert actuator.seen("other") is None
        with pytest.raises(ActuatorError, match="does not exist"):
            await actuator.scale("other", 1, [], "more")
        await aside(namespace.kubectl, "delete", "deployment/email")
        await until(lambda: actuator.seen("email") is None)
        with pytest.raises(ActuatorError, match="does not exist"):
            await actuator.scale("email", 1, [], "more")
        await aside(namespace.workload, "email", 2)
        await aside(namespace.workload, "other", 0)
        await until(lambda: _ready(actuator, 2))
        await actuator.scale("email", 1, [], "fewer")
        await until(lambda: _ready(actuator, 1))
        await until(lambda: actuator.seen("other"))


async def test_pods_that_cannot_be_placed_and_a_quota_are_told(namespace: Namespace) -> None:
    namespace.workload("huge", 1, cpu="1000")
    namespace.workload("email", 1)
    async with opened(namespace, "huge", "email") as actuator:
        await until(lambda: "Insufficient cpu" in seen(actuator, "huge").unschedulable)
        await until(lambda: _ready(actuator, 1))
        assert seen(actuator).unschedulable == ""
        await aside(namespace.kubectl, "create", "quota", "few", "--hard=pods=3")
        await until(lambda: namespace.get("quota", "few").get("status", {}).get("used"))
        await actuator.scale("email", 4, [], "more")
        await until(lambda: "exceeded quota" in seen(actuator).unschedulable)
        assert seen(actuator).asked == 4
        await aside(namespace.kubectl, "delete", "quota", "few")


async def test_a_quota_is_told_of_a_stateful_set(namespace: Namespace) -> None:
    namespace.workload("store", 1, kind="StatefulSet")
    namespace.kubectl("create", "quota", "few", "--hard=pods=2")
    async with opened(namespace, "statefulset/store") as actuator:
        await until(lambda: _ready(actuator, 1, "statefulset/store"))
        await until(lambda: namespace.get("quota", "few").get("status", {}).get("used"))
        await actuator.scale("statefulset/store", 3, [], "more")
        await until(lambda: "2 of 3 pods exist" in seen(actuator, "statefulset/store").unschedulable)


async def test_an_image_that_is_not_there_gives_replicas_that_are_not_ready(namespace: Namespace) -> None:
    namespace.workload("email", 2, image="headrace.invalid/nothing:1")
    async with opened(namespace, "email") as actuator:
        there = await until(lambda: len(seen(actuator).replicas) == 2 and seen(actuator))
        assert not any(one.ready for one in there.replicas)
        why = await until(lambda: "Pull" in seen(actuator).unready and seen(actuator).unready, 60.0)
        assert why.startswith(("2 pods: ", "1 pod: "))
        assert "headrace.invalid/nothing:1" in why


async def test_status_that_moves_the_version_is_waited_out(namespace: Namespace) -> None:
    namespace.workload("email", 0)
    async with opened(namespace, "email") as actuator:
        api, reference = actuator._api, actuator._followed["email"].reference
        stop = asyncio.Event()

        async def annotate(pause: float) -> None:
            count = 0
            while not stop.is_set():
                count += 1
                body = {"metadata": {"annotations": {"note": str(count)}}}
                await api.call("patch", reference.resource, "email", body, timeout=5.0)
                await asyncio.sleep(pause)

        for pause in (0.03, 0.0):  # now and then, and as fast as it can
            writer = asyncio.ensure_future(annotate(pause))
            async with asyncio.timeout(60):  # 4 s each, and three times that for a busy machine
                results = [await _tried(actuator, wanted) for wanted in (3, 2, 5, 0)]
            assert set(results) <= ({"done"} if pause else {"done", "another writer at each"})
            stop.set()
            await writer
            stop.clear()


async def _tried(actuator: Kubernetes, replicas: int) -> str:
    try:
        await actuator.scale("email", replicas, [], "why not")
    except ActuatorError as error:
        return "another writer at each" if "another writer at each" in str(error) else str(error)
    assert seen(actuator).asked == replicas
    return "done"


async def test_another_writers_number_is_not_overwritten(namespace: Namespace) -> None:
    namespace.workload("email", 1)
    async with opened(namespace, "email") as actuator:
        await actuator._followed["email"].end()  # its view stands still
        await aside(namespace.kubectl, "scale", "deployment/email", "--replicas=4")
        with pytest.raises(ActuatorError, match="set to 4 by another writer, from 1"):
            await actuator.scale("email", 2, [], "more")
        assert namespace.get("deployment", "email")["spec"]["replicas"] == 4


async def test_a_workload_that_an_hpa_scales_is_refused(namespace: Namespace) -> None:
    namespace.workload("email", 1)
    namespace.workload("points", 0)
    namespace.kubectl("autoscale", "deployment/email", "--name=cpu", "--max=3", "--cpu-percent=80")
    async with opened(namespace, "email", "points") as actuator:
        with pytest.raises(ActuatorError, match=r"HorizontalPodAutoscaler 'cpu'.*delete it"):
            await actuator.scale("email", 2, [], "more")
        assert seen(actuator).asked == 1
        await actuator.scale("points", 1, [], "more")


async def test_a_workload_that_keda_scales_is_refused(namespace: Namespace) -> None:
    kubectl = namespace.cluster.kubectl
    if "scaledobjects.keda.sh" in kubectl("get", "crd", "--output=name"):
        pytest.skip("KEDA is there; this test would take its place")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"}
    spec = {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    namespace.apply(definition | {"metadata": {"name": "scaledobjects.keda.sh"}})
    try:
        kubectl("wait", "--for=condition=Established", "crd/scaledobjects.keda.sh")
        scaled: dict[str, object] = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "by-queue"}}
        await until(lambda: "by-queue" in _applied(namespace, scaled | {"spec": {"scaleTargetRef": {"name": "email"}}}))
        namespace.workload("email", 1)
        async with opened(namespace, "email") as actuator:
            with pytest.raises(ActuatorError, match="ScaledObject 'by-queue'"):
                await actuator.scale("email", 2, [], "more")
    finally:
        kubectl("delete", "crd", "scaledobjects.keda.sh", "--wait=false")


def _applied(namespace: Namespace, item: dict[str, object]) -> str:
    """An API is served a moment after its definition was established."""
    try:
        namespace.apply(item)
    except RuntimeError:
        return ""
    return namespace.kubectl("get", "scaledobjects", "--output=name")


async def test_names_and_kubeconfigs_that_cannot_be_are_refused(namespace: Namespace, tmp_path: object) -> None:
    api = await connect(namespace.cluster.kubeconfig, namespace.name)
    with pytest.raises(SettingsError, match="daemonset/email"):
        Kubernetes(api, ["daemonset/email"])
    await api.close()
    with pytest.raises(SettingsError, match="nowhere"):
        await connect(f"{tmp_path}/nowhere")
    broken = f"{tmp_path}/broken"
    with open(broken, "w", encoding="utf-8") as file:  # noqa: PTH123, ASYNC230 - one line
        file.write("{[")
    with pytest.raises(SettingsError, match="broken"):
        await connect(broken)
