"""Why pods and processes are not ready, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.actuators.kubernetes.objects import Pod, pod, unready
from autoscaler.actuators.kubernetes.unready import why_unready
from autoscaler.actuators.reasons import MOST, together

Json = dict[str, Any]
PULLING = 'Back-off pulling image "registry.example/app:2"'
UNREADY = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]


def waiting(reason: str, message: str = "", name: str = "consumer", *, ended: Json | None = None) -> Json:
    state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
    return {"name": name, "ready": False, "state": state, "lastState": {"terminated": ended} if ended else {}}


def status(*containers: Json, init: tuple[Json, ...] = (), conditions: list[Json] = UNREADY) -> Json:
    return {"conditions": conditions, "initContainerStatuses": list(init), "containerStatuses": list(containers)}


NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient cpu."}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
RUNS: Json = {"name": "consumer", "ready": False, "started": True, "state": {"running": {}}}
SIDECAR: Json = {"name": "proxy", "ready": True, "started": True, "state": {"running": {}}}
DONE: Json = {"name": "schema", "ready": True, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (status(waiting("ImagePullBackOff", PULLING)), f"ImagePullBackOff: {PULLING}"),
        (status(waiting("ErrImageNeverPull")), "ErrImageNeverPull"),
        (status(conditions=[NO_NODE]), "Unschedulable: 0/3 nodes: Insufficient cpu."),
        (status(conditions=[GATED]), "SchedulingGated"),
        (
            status(waiting("CrashLoopBackOff", "back-off 40s", ended={"exitCode": 137, "reason": "OOMKilled"})),
            "CrashLoopBackOff: back-off 40s; consumer ended with exit code 137 (OOMKilled)",
        ),
        (
            status(waiting("CrashLoopBackOff", "back-off", ended={"exitCode": 2, "message": "one\nHEADRACE_LEASE=x\n"})),
            "CrashLoopBackOff: back-off; consumer ended with exit code 2 (no reason): HEADRACE_LEASE=x",
        ),
        (
            status({"name": "consumer", "ready": False, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}),
            "Error: consumer ended with exit code 1 (Error)",
        ),
        (status(RUNS), "NotReady: consumer runs, and its readiness probe does not succeed"),
        (status(RUNS | {"started": False}), "NotReady: consumer runs, and its startup probe does not succeed"),
        (status(waiting("PodInitializing"), init=(waiting("ErrImagePull", "denied", "schema"),)), "ErrImagePull: denied"),
        (status(waiting("PodInitializing"), init=(DONE, waiting("ContainerCreating", name="wait"))), "ContainerCreating"),
        (
            status(SIDECAR, waiting("CreateContainerConfigError", 'secret "tls" not found')),
            'CreateContainerConfigError: secret "tls" not found',
        ),
        (status(waiting("ContainerCreating"), RUNS), "NotReady: consumer runs, and its readiness probe does not succeed"),
        (status(RUNS, conditions=[{"type": "Ready", "status": "True"}]), ""),
        ({}, ""),
    ],
)
def test_a_pods_own_reason(given: Json, expected: str) -> None:
    assert why_unready({"status": given}) == expected


def test_it_is_one_line_of_bounded_length() -> None:
    kept = _pod("p", waiting("ErrImagePull", "denied\n  by the registry " + "x" * 5000))
    assert kept.unready.startswith("ErrImagePull: denied by the registry xxx")
    assert len(kept.unready) == MOST
    assert len(unready([kept])) == MOST


def test_the_commonest_kind_of_all_pods_that_stay_is_told() -> None:
    pulling = [_pod(f"p{n}", waiting("ImagePullBackOff", f"{PULLING}, pod p{n}")) for n in range(2)]
    starting = _pod("q", waiting("ContainerCreating"))
    assert unready([starting, *pulling]) == f"2 pods: ImagePullBackOff: {PULLING}, pod p0"
    assert unready([starting]) == "1 pod: ContainerCreating"
    assert unready([_pod("ready", conditions=[{"type": "Ready", "status": "True"}])]) == ""
    assert unready([_pod("left", waiting("ImagePullBackOff", PULLING), deletionTimestamp="now")]) == ""
    assert together("process", "processes", []) == ""


def _pod(name: str, *containers: Json, conditions: list[Json] = UNREADY, **meta: str) -> Pod:
    kept = pod({"metadata": {"name": name, **meta}, "status": status(*containers, conditions=conditions)})
    assert kept is not None
    return kept
