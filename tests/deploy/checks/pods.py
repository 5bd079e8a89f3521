"""The common options of every pod and every container."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.deploy.release import LONG_RUNNING, Release, Workload
from tests.deploy.render import Object

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# Seconds that a program needs after its drain: to close its stores, flush its telemetry, end.
_MARGIN = 3
# How long it goes on after SIGTERM: first as before, then with what it has begun.
_AFTER_TERM = {"HEADRACE_LINGER_SECONDS", "HEADRACE_DRAIN_SECONDS"}


def _containers(release: Release) -> Iterator[tuple[Workload, Object, str]]:
    for workload in release.workloads:
        for container in workload.containers:
            yield workload, container, f"{workload}, container {container['name']}"


def resources_are_said(release: Release) -> Iterator[str]:
    """Requests of both, and a limit of memory. No limit of CPU: throttling shows as latency."""
    for _, container, who in _containers(release):
        resources = container.get("resources") or {}
        for path in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if path[1] not in (resources.get(path[0]) or {}):
                yield f"{who} has no resources.{'.'.join(path)}"


def security_is_restricted(release: Release) -> Iterator[str]:
    """Pod Security's `restricted`, and no writable root besides. The pod's options hold for a container that has none."""
    for workload, container, who in _containers(release):
        whole, own = workload.spec.get("securityContext") or {}, container.get("securityContext") or {}
        both = {**whole, **own}
        wanted: dict[str, Any] = {
            "runAsNonRoot": (both.get("runAsNonRoot"), True),
            "seccompProfile": ((both.get("seccompProfile") or {}).get("type"), "RuntimeDefault"),
            "allowPrivilegeEscalation": (own.get("allowPrivilegeEscalation"), False),
            "readOnlyRootFilesystem": (own.get("readOnlyRootFilesystem"), True),
            "capabilities.drop": ((own.get("capabilities") or {}).get("drop"), ["ALL"]),
            "capabilities.add": ((own.get("capabilities") or {}).get("add") or [], []),
            "privileged": (own.get("privileged", False), False),
        }
        yield from (f"{who}: {name} is {is_!r}, not {be!r}" for name, (is_, be) in wanted.items() if is_ != be)
        if both.get("runAsUser") == 0:
            yield f"{who} runs as root"


def nothing_of_the_host(release: Release) -> Iterator[str]:
    for workload in release.workloads:
        yield from (f"{workload}: {name}" for name in ("hostNetwork", "hostPID", "hostIPC") if workload.spec.get(name))
        of_host = [volume["name"] for volume in workload.spec.get("volumes", []) if "hostPath" in volume]
        yield from (f"{workload}: volume {name} is the host's" for name in of_host)
        ports = [port for container in workload.containers for port in container.get("ports", [])]
        yield from (f"{workload}: hostPort {port['hostPort']}" for port in ports if "hostPort" in port)


def probes_are_there(release: Release) -> Iterator[str]:
    for workload in release.workloads:
        if workload.kind in LONG_RUNNING:
            for container in workload.main:
                yield from (
                    f"{workload}, container {container['name']} has no {name}" for name in PROBES if not container.get(name)
                )


def probes_ask_what_is_there(release: Release) -> Iterator[str]:
    """A port that the container has; and alive and ready are two questions."""
    for _, container, who in _containers(release):
        named = {key for port in container.get("ports", []) for key in (port.get("name"), port["containerPort"])}
        for name in PROBES:
            probe = container.get(name) or {}
            for how in ("httpGet", "tcpSocket", "grpc"):
                if how in probe and probe[how]["port"] not in named:
                    yield f"{who}: {name} asks port {probe[how]['port']!r}, which it does not have"
        ready, alive = container.get("readinessProbe"), container.get("livenessProbe")
        if ready and alive and "httpGet" in ready and ready["httpGet"] == alive.get("httpGet"):
            yield f"{who}: what is not ready is killed: both probes ask {ready['httpGet']['path']}"


def ends_have_time(release: Release) -> Iterator[str]:
    """The grace period holds the wait before SIGTERM, what a program still does after it, and a margin."""
    for workload in release.workloads:
        grace = workload.spec.get("terminationGracePeriodSeconds")
        if grace is None:
            if workload.kind in LONG_RUNNING:
                yield f"{workload} has no terminationGracePeriodSeconds"
            continue
        for container in workload.main:
            after = sum(float(env["value"]) for env in container.get("env", []) if env["name"] in _AFTER_TERM)
            needed = _before_term(container) + after + (_MARGIN if after else 0)
            if grace < needed:
                yield f"{workload}: is killed after {grace} s, and container {container['name']} needs {needed:g} s"


def _before_term(container: Object) -> float:
    """Seconds that preStop sleeps."""
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    words = [word for part in (hook.get("exec") or {}).get("command", []) for word in part.split()]
    slept = [float(after) for word, after in pairwise(words) if word == "sleep"]
    return float((hook.get("sleep") or {}).get("seconds", 0)) + sum(slept)


def tokens_only_where_needed(release: Release) -> Iterator[str]:
    """A pod has a token of the API server exactly where a role is bound to its account."""
    bound = {subject["name"] for one in release.kinds("RoleBinding") for subject in one["subjects"]}
    for workload in release.workloads:
        account = workload.spec.get("serviceAccountName", "default")
        mounted = workload.spec.get("automountServiceAccountToken")
        if mounted is not (account in bound):
            needed = "a" if account in bound else "no"
            yield f"{workload}: automountServiceAccountToken is {mounted}, and {needed} role is bound to {account}"
    for one in release.kinds("ServiceAccount"):
        if one.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {one['metadata']['name']}: automountServiceAccountToken is not false"


def nothing_stands_twice(release: Release) -> Iterator[str]:
    """In a list with a key the API server keeps one of two, and server-side apply refuses them."""
    for workload, container, who in _containers(release):
        yield from _twice(who, "variable", [one["name"] for one in container.get("env", [])])
        yield from _twice(who, "mount", [one["mountPath"] for one in container.get("volumeMounts", [])])
        yield from _twice(who, "port", [(one["containerPort"], one.get("protocol", "TCP")) for one in container.get("ports", [])])
        there = {one["name"] for one in workload.spec.get("volumes", [])}
        there |= {one["metadata"]["name"] for one in workload.one["spec"].get("volumeClaimTemplates", [])}
        used = {one["name"] for one in container.get("volumeMounts", [])}
        yield from (f"{who} mounts volume {name}, which is not there" for name in used - there)
    for workload in release.workloads:
        used = {one["name"] for container in workload.containers for one in container.get("volumeMounts", [])}
        volumes = [one["name"] for one in workload.spec.get("volumes", [])]
        yield from _twice(str(workload), "volume", volumes)
        yield from (f"{workload}: nobody mounts volume {name}" for name in volumes if name not in used)
        names = [container["name"] for container in workload.containers]
        yield from _twice(str(workload), "container", names)


def _twice(who: str, what: str, all_: list[Any]) -> Iterator[str]:
    yield from (f"{who}: {what} {one} stands {times} times" for one, times in Counter(all_).items() if times > 1)


def images_are_fixed(release: Release) -> Iterator[str]:
    for _, container, who in _containers(release):
        image = container["image"]
        tag = image.rpartition("/")[2].partition(":")[2].partition("@")[0]
        if "@sha256:" not in image and tag in {"", "latest"}:
            yield f"{who}: the image {image} is another one tomorrow"
        if "imagePullPolicy" not in container:
            yield f"{who}: no imagePullPolicy"


CHECKS = (
    resources_are_said,
    security_is_restricted,
    nothing_of_the_host,
    probes_are_there,
    probes_ask_what_is_there,
    ends_have_time,
    tokens_only_where_needed,
    nothing_stands_twice,
    images_are_fixed,
)
