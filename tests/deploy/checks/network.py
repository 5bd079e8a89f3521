"""Programs that must talk can talk, whatever policies there are; and strangers reach nothing that is not for them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.settings import GatewaySettings
from tests.deploy.checks.environment import programs, settings_of
from tests.deploy.checks.scaling import consumers, controllers
from tests.deploy.files import file, variables
from tests.deploy.release import LONG_RUNNING, Release, Workload, known_as
from tests.deploy.render import Object
from tests.deploy.traffic import OUTSIDE, STRANGER, Peer, allowed

# host:port in a URL, with or without credentials before it.
_ADDRESS = re.compile(r"://(?:[^\s/@]*@)?([a-z0-9.-]+):(\d+)")
# The API server, at whichever of its two usual ports.
_API_PORTS = (443, 6443)
_OPEN_TO_STRANGERS = {"http", "probes", "metrics"}


def policies_select_pods(release: Release) -> Iterator[str]:
    for one in release.kinds("NetworkPolicy"):
        if not release.chosen(one["spec"]["podSelector"]):
            yield f"{known_as(one)} is on no pods"
        for way, ends in (("ingress", "from"), ("egress", "to")):
            for rule in one["spec"].get(way) or []:
                for end in rule.get(ends) or []:
                    if "podSelector" in end and "namespaceSelector" not in end and not _known(release, end["podSelector"]):
                        yield f"{known_as(one)}: {way} names pods that there are not: {end['podSelector']}"


def _known(release: Release, selector: Object) -> bool:
    """The pods of a RabbitmqCluster are the operator's: it labels them with the cluster's name. Others may be the user's."""
    made = [one["metadata"]["name"] for one in release.kinds("RabbitmqCluster")]
    labels = selector.get("matchLabels") or {}
    theirs = bool(labels) and all(release.named_in_values(value) for value in labels.values())
    return bool(release.chosen(selector)) or labels.get("app.kubernetes.io/name") in made or theirs


def what_is_named_is_reached(release: Release) -> Iterator[str]:
    """Every Service of this release that a container has the address of."""
    for workload in release.workloads:
        for host, port in sorted(_addresses(release, workload)):
            service = release.named("Service", host.split(".")[0])
            if service is None:
                continue
            yield from _reach(release, workload, service, port)


def _reach(release: Release, workload: Workload, service: Object, port: int) -> Iterator[str]:
    listed = next((one for one in service["spec"]["ports"] if one["port"] == port), None)
    if listed is None:
        yield f"{workload} asks for port {port} of {known_as(service)}, which it does not have"
        return
    for target in release.selected(service["spec"]["selector"]):
        if target.kind in LONG_RUNNING:
            number = target.ports().get(listed.get("targetPort", port), port)
            if not allowed(release, Peer.of(workload, release), Peer.of(target, release), number):
                yield f"{workload} may not reach {target} at {number}, and is told to"


def _addresses(release: Release, workload: Workload) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for container in workload.containers:
        told = variables(release, container)
        texts = [*told.values(), *container.get("command", []), *container.get("args", [])]
        texts += [file(release, workload, container, path, "") or "" for name, path in told.items() if name.endswith("_FILE")]
        found |= {(host, int(port)) for text in texts for host, port in _ADDRESS.findall(text)}
        # A bare number is what a program is to listen on, no address to reach.
        hosts = {name.removesuffix("_HOST"): value for name, value in told.items() if name.endswith("_HOST") and value.islower()}
        found |= {(host, int(told[f"{name}_PORT"])) for name, host in hosts.items() if f"{name}_PORT" in told}
    return found


def what_is_outside_is_reached(release: Release) -> Iterator[str]:
    """Addresses that are no Service of this release, on their port; names by DNS; the API server by the controller."""
    for workload in release.workloads:
        me = Peer.of(workload, release)
        for host, port in sorted(_addresses(release, workload)):
            if not release.named("Service", host.split(".")[0]) and not allowed(release, me, OUTSIDE, port) and "." in host:
                yield f"{workload} may not reach {host} at {port}, and is told to"
        dns = Peer({"k8s-app": "kube-dns"}, namespace="kube-system")
        for protocol in ("UDP", "TCP") if _addresses(release, workload) else ():
            for port in release.values["networkPolicy"]["dnsPorts"]:
                if not allowed(release, me, dns, port, protocol):
                    yield f"{workload} may not ask DNS by {protocol} at {port}"
    for who, _ in controllers(release):
        yield from (
            f"{who} may not reach the API server at {port}"
            for port in _API_PORTS
            if not allowed(release, Peer.of(who, release), OUTSIDE, port)
        )


def the_controller_reaches_consumers(release: Release) -> Iterator[str]:
    for who, _ in controllers(release):
        for target, settings in consumers(release):
            if not allowed(release, Peer.of(who, release), Peer.of(target, release), settings.probe_port):
                yield f"{who} may not reach {target} at {settings.probe_port}"


def strangers_reach_only_what_is_for_them(release: Release) -> Iterator[str]:
    """Where there are policies: a pod of another namespace, one of this namespace, and an address outside."""
    if not release.kinds("NetworkPolicy"):
        return
    beside = Peer({"app.kubernetes.io/name": "beside"}, namespace=release.namespace)
    for target in release.workloads:
        for name, port in target.ports().items():
            if isinstance(name, str) and name not in _OPEN_TO_STRANGERS:
                for who, peer in (("another namespace", STRANGER), ("this namespace", beside), ("outside", OUTSIDE)):
                    if allowed(release, peer, Peer.of(target, release), port):
                        yield f"{target}: port {name} is open to {who}"


def the_gateway_is_reached(release: Release) -> Iterator[str]:
    """By everybody, unless the values say by whom."""
    for target, container, which in programs(release):
        if which == "service" and not release.values["networkPolicy"]["gatewayFrom"]:
            settings = settings_of(release, target, container)[0]
            assert isinstance(settings, GatewaySettings)
            port = settings.port
            for who, peer in (("another namespace", STRANGER), ("outside", OUTSIDE)):
                if not allowed(release, peer, Peer.of(target, release), port):
                    yield f"{target} is not open to {who}"


CHECKS = (
    policies_select_pods,
    what_is_named_is_reached,
    what_is_outside_is_reached,
    the_controller_reaches_consumers,
    strangers_reach_only_what_is_for_them,
    the_gateway_is_reached,
)
