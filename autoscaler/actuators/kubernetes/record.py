"""The text that is written into a Lease, and read from one. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.actuators.kubernetes.api import Json
from core.clock import rfc3339


@dataclass(frozen=True, slots=True)
class Record:
    """A Lease as it was read. renewed: its text, which tells one renewal from the next; no clock of anybody else is believed.

    seconds: how long its holder has it without renewing. kept: labels and annotations, which are somebody else's.
    """

    version: str
    holder: str
    renewed: str
    acquired: str
    seconds: int
    transitions: int
    kept: Json = field(default_factory=dict)

    @classmethod
    def of(cls, item: Json) -> Record:
        """Raises KeyError for what is no Lease."""
        spec = item.get("spec") or {}
        return cls(
            version=str(item["metadata"]["resourceVersion"]),
            holder=str(spec.get("holderIdentity") or ""),
            renewed=str(spec.get("renewTime") or ""),
            acquired=str(spec.get("acquireTime") or ""),
            seconds=int(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
            kept={name: item["metadata"][name] for name in ("labels", "annotations") if item["metadata"].get(name)},
        )


def held(name: str, before: Record | None, identity: str, seconds: int, wall: float) -> Json:
    """The Lease with us as its holder. wall: Unix seconds, for those who read it."""
    now = _micro(wall)
    same = before is not None and before.holder == identity
    transitions = before.transitions + (not same) if before else 0
    acquired = before.acquired if before and same else now
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": seconds,
        "acquireTime": acquired,
        "renewTime": now,
        "leaseTransitions": transitions,
    }
    return _lease(name, before, spec)


def released(name: str, before: Record, wall: float) -> Json:
    """The Lease with no holder: the next candidate takes it at its next look."""
    spec = {
        "leaseDurationSeconds": 1,
        "acquireTime": _micro(wall),
        "renewTime": _micro(wall),
        "leaseTransitions": before.transitions,
    }
    return _lease(name, before, spec)


def _lease(name: str, before: Record | None, spec: Json) -> Json:
    metadata: Json = {"name": name}
    if before is not None and before.version:
        metadata |= {"resourceVersion": before.version, **before.kept}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _micro(wall: float) -> str:
    """Kubernetes' MicroTime, which has 6 digits and takes no others."""
    return f"{rfc3339(wall)[:-1]}000Z"
