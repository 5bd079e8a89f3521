"""The parts of a workload and of a pod that are kept, and the conclusions from both. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from autoscaler.actuators.kubernetes.api import Json, Resource
from autoscaler.actuators.kubernetes.unready import why_unready
from autoscaler.actuators.reasons import cut, together
from autoscaler.model import Pause
from autoscaler.ports import Replica
from core.errors import SettingsError

PAUSE: Final = "headrace/pause"
METRICS_PORT: Final = "headrace/metrics-port"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_PLURALS: Final = {"deployment": "deployments", "statefulset": "statefulsets", "job": "cronjobs"}
_KINDS: Final = {"deployment": "Deployment", "statefulset": "StatefulSet", "job": "CronJob"}
_OPERATORS: Final = {"In": "in", "NotIn": "notin"}


@dataclass(frozen=True, slots=True)
class Reference:
    """Which workload: `kind` is deployment, statefulset, or job, whose `name` is that of the CronJob that is its template."""

    kind: str
    name: str

    @classmethod
    def of(cls, text: str) -> Reference:
        """`name`, `deployment/name`, `statefulset/name` or `job/name`. Raises SettingsError."""
        kind, _, name = text.rpartition("/")
        kind = kind.lower() or "deployment"
        if kind not in _PLURALS or not name:
            raise SettingsError(f"workload {text!r} must be name, deployment/name, statefulset/name or job/name")
        return cls(kind, name)

    @property
    def resource(self) -> Resource:
        return Resource("batch" if self.kind == "job" else "apps", "v1", _PLURALS[self.kind])

    @property
    def scale(self) -> Resource:
        return Resource("apps", "v1", _PLURALS[self.kind], "scale")

    @property
    def title(self) -> str:
        """The kind as an object writes it."""
        return _KINDS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """A Deployment or StatefulSet. failure: why the controller of it makes no pods, or "". port: of the metrics, or 0."""

    uid: str
    version: str
    asked: int
    selector: str
    pause: Pause
    failure: str
    port: int


@dataclass(frozen=True, slots=True)
class Pod:
    """leaving: it is terminating, and takes no new work. cost: its deletion cost. unschedulable: why no node takes it, or "".
    revision: the hash of the template that it was made of. unready: why it is not ready, in its own words, or "".
    """

    name: str
    ready: bool
    leaving: bool
    ip: str
    port: int
    cost: int
    unschedulable: str
    revision: str = ""
    unready: str = ""


def target(item: Json) -> Target:
    """Raises KeyError or TypeError for what is no workload."""
    meta, spec = item["metadata"], item["spec"]
    failure = _condition(item, "ReplicaFailure")
    notes = meta.get("annotations") or {}
    return Target(
        uid=meta["uid"],
        version=meta["resourceVersion"],
        asked=int(spec.get("replicas", 1)),
        selector=selector(spec["selector"]),
        pause=pause(notes),
        failure=str(failure.get("message") or "") if failure.get("status") == "True" else "",
        port=integer(notes, METRICS_PORT),
    )


def pod(item: Json) -> Pod | None:
    """None for one that has ended. Raises KeyError for what is no pod."""
    meta, status = item["metadata"], item.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    notes = meta.get("annotations") or {}
    labels = meta.get("labels") or {}
    placed = _condition(item, "PodScheduled")
    leaving = "deletionTimestamp" in meta
    return Pod(
        name=meta["name"],
        ready=not leaving and _condition(item, "Ready").get("status") == "True",
        leaving=leaving,
        ip=str(status.get("podIP") or ""),
        port=integer(notes, METRICS_PORT),
        cost=integer(notes, DELETION_COST),
        unschedulable=str(placed.get("message") or "") if placed.get("reason") == "Unschedulable" else "",
        revision=str(labels.get("pod-template-hash") or labels.get("controller-revision-hash") or ""),
        unready="" if leaving else cut(why_unready(item)),
    )


def replica(one: Pod, port: int, *, ordered: bool = False) -> Replica:
    """port: where neither the pod nor its workload names one; 0 is none. ordered: it is one of a StatefulSet's, `NAME-ORDINAL`."""
    port = one.port or port
    host = f"[{one.ip}]" if ":" in one.ip else one.ip
    number = one.name.rpartition("-")[2]
    ordinal = int(number) if ordered and number.isdecimal() else -1
    return Replica(one.name, one.ready, f"http://{host}:{port}/metrics" if one.ip and port else "", one.leaving, ordinal)


def unschedulable(failure: str, pods: Iterable[Pod]) -> str:
    """Why replicas that were asked for do not start, in one line."""
    if failure:
        return failure
    waiting = [one.unschedulable for one in pods if one.unschedulable]
    return f"{len(waiting)} pods find no node: {waiting[0]}" if waiting else ""


def unready(pods: Iterable[Pod]) -> str:
    """Why those that are not ready are not, in one line."""
    return together("pod", "pods", (one.unready for one in pods))


def pause(notes: Mapping[str, str]) -> Pause:
    """The actions that the annotation forbids. An unknown word forbids everything: somebody wanted to stop the controller."""
    word = notes.get(PAUSE, "")
    try:
        return Pause(word.strip().lower() or Pause.NONE)
    except ValueError:
        return Pause.ALL


def selector(spec: Json) -> str:
    """A label selector, as a query writes it."""
    parts = [f"{key}={value}" for key, value in sorted((spec.get("matchLabels") or {}).items())]
    for rule in spec.get("matchExpressions") or ():
        key, operator = rule["key"], rule["operator"]
        if operator in _OPERATORS:
            parts.append(f"{key} {_OPERATORS[operator]} ({','.join(rule['values'])})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts)


def costs(candidates: Iterable[Pod], others: Iterable[Pod]) -> dict[str, int]:
    """Deletion costs by pod name that send the candidates first, the first of them before the next.

    They are below the costs of all others: one that was marked in an earlier shrinking, and stayed, may be busy now.
    """
    names = [one.name for one in candidates]
    lowest = min((one.cost for one in others), default=0)
    first = max(min(lowest, 0) - len(names), -(2**31))  # Kubernetes reads it as an int32
    return {name: first + place for place, name in enumerate(names)}


def _condition(item: Json, kind: str) -> Json:
    for one in (item.get("status") or {}).get("conditions") or ():
        if one.get("type") == kind:
            return dict(one)
    return {}


def integer(notes: Mapping[str, str], name: str) -> int:
    """0 for what is not there, or is no number: an annotation is anybody's text."""
    try:
        return int(notes.get(name, "0"))
    except ValueError:
        return 0


def older(one: str, other: str) -> bool:
    """Whether a resourceVersion comes before another; Kubernetes has them be numbers, and grow."""
    return one.isdigit() and other.isdigit() and int(one) < int(other)
