"""The parts of a Job template, of a Job and of its pod that are kept, and a Job as it is made. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from autoscaler.actuators.kubernetes.api import Json
from autoscaler.actuators.kubernetes.objects import METRICS_PORT, Pod, Reference, integer, pause, pod
from autoscaler.model import Pause

# On each Job and its pods: the name of the template.
MADE_FROM: Final = "headrace/made-from"


@dataclass(frozen=True, slots=True)
class Template:
    """job: metadata and spec of a Job to be."""

    uid: str
    version: str
    job: Json
    pause: Pause
    port: int

    @classmethod
    def of(cls, item: Json) -> Template:
        """Raises KeyError or TypeError for what is no CronJob."""
        meta = item["metadata"]
        notes = meta.get("annotations") or {}
        job = item["spec"]["jobTemplate"]
        return cls(meta["uid"], meta["resourceVersion"], job, pause(notes), integer(notes, METRICS_PORT))


class State(Enum):
    """Of a Job."""

    GOING = "going"
    COMPLETE = "complete"
    FAILED = "failed"
    LEAVING = "leaving"  # somebody has deleted it


@dataclass(frozen=True, slots=True)
class JobPod:
    """pod: None for one that has ended. succeeded: then its Job has, too, some moments before it says so."""

    job: str
    pod: Pod | None
    succeeded: bool

    @classmethod
    def of(cls, item: Json) -> JobPod:
        labels = item["metadata"].get("labels") or {}
        job = str(labels.get("batch.kubernetes.io/job-name") or labels.get("job-name") or "")
        return cls(job, pod(item), (item.get("status") or {}).get("phase") == "Succeeded")


def state(item: Json) -> State:
    conditions = (item.get("status") or {}).get("conditions") or ()
    true = {one.get("type") for one in conditions if one.get("status") == "True"}
    if "Complete" in true:
        return State.COMPLETE
    if "Failed" in true:
        return State.FAILED
    return State.LEAVING if "deletionTimestamp" in item["metadata"] else State.GOING


def job(name: str, reference: Reference, template: Template) -> Json:
    """It goes with the CronJob, as what owns it. It is no controller of it: a CronJob controller would warn of each Job that it has
    not made itself, and delete them by a history of its own."""
    meta, spec = template.job.get("metadata") or {}, template.job["spec"]
    owner = {"apiVersion": "batch/v1", "kind": reference.title, "name": reference.name, "uid": template.uid}
    mark = {MADE_FROM: reference.name}
    inner = spec["template"].get("metadata") or {}
    labelled = {**spec["template"], "metadata": inner | {"labels": (inner.get("labels") or {}) | mark}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": (meta.get("labels") or {}) | mark,
            "annotations": meta.get("annotations") or {},
            "ownerReferences": [owner],
        },
        "spec": spec | {"template": labelled},
    }
