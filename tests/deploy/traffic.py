"""Which connections NetworkPolicies let through: their rules as the API describes them, for pods of one release and others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.deploy.release import Release, Workload, matches
from tests.deploy.render import Object


@dataclass(frozen=True)
class Peer:
    """One end of a connection. labels: None is an address outside the cluster. ports: named ones of its pod."""

    labels: dict[str, str] | None
    ports: dict[str | int, int] = field(default_factory=dict)
    namespace: str = ""

    @classmethod
    def of(cls, workload: Workload, release: Release) -> Peer:
        return cls(workload.labels, workload.ports(), release.namespace)


OUTSIDE = Peer(None)
STRANGER = Peer({"app.kubernetes.io/name": "stranger"}, namespace="strangers")


def allowed(release: Release, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may open a connection to this port of `target`."""
    return _one_way(release, "Egress", source, target, target, port, protocol) and _one_way(
        release, "Ingress", target, source, target, port, protocol
    )


def _one_way(release: Release, way: str, subject: Peer, other: Peer, target: Peer, port: int, protocol: str) -> bool:
    """The rules of the policies on `subject` for the other end. Pods on which there is none are open."""
    specs = [policy["spec"] for policy in release.kinds("NetworkPolicy") if _on(policy["spec"], way, subject, release)]
    rules = [rule for spec in specs for rule in spec.get(way.lower()) or []]
    ends = {"Egress": "to", "Ingress": "from"}[way]
    return not specs or any(
        _end(rule.get(ends), other, release) and _port(rule.get("ports"), target, port, protocol) for rule in rules
    )


def _on(spec: Object, way: str, subject: Peer, release: Release) -> bool:
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    here = subject.labels is not None and subject.namespace == release.namespace
    return way in types and here and matches(spec["podSelector"], subject.labels or {})


def _end(ends: list[Any] | None, other: Peer, release: Release) -> bool:
    return not ends or any(_peer(end, other, release) for end in ends)


def _peer(end: Object, other: Peer, release: Release) -> bool:
    if "ipBlock" in end:
        return other.labels is None
    if other.labels is None:
        return False
    names = {"kubernetes.io/metadata.name": other.namespace}
    inside = matches(end["namespaceSelector"], names) if "namespaceSelector" in end else other.namespace == release.namespace
    return inside and matches(end.get("podSelector", {}), other.labels)


def _port(ports: list[Any] | None, target: Peer, port: int, protocol: str) -> bool:
    return not ports or any(_is(one, target, port, protocol) for one in ports)


def _is(one: Object, target: Peer, port: int, protocol: str) -> bool:
    first = one.get("port", port)
    number = target.ports.get(first, -1) if isinstance(first, str) else int(first)
    return bool(one.get("protocol", "TCP") == protocol and number <= port <= one.get("endPort", number))
