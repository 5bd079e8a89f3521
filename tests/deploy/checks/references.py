"""References from one object to another are right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.deploy.release import LONG_RUNNING, Release, Workload, contents, known_as
from tests.deploy.render import Object


def configuration_is_there(release: Release) -> Iterator[str]:
    """A ConfigMap or Secret of a pod is rendered with it, with that key, or an operator makes it, or the values name it."""
    for workload in release.workloads:
        for kind, name, keys in _used(workload):
            one = release.named(kind, name)
            if one is not None:
                yield from (f"{workload}: {kind} {name} has no key {key}" for key in keys - contents(one).keys())
            elif name not in release.made() and not release.named_in_values(name):
                yield f"{workload}: {kind} {name} is not rendered, and no value names it"


def _used(workload: Workload) -> Iterator[tuple[str, str, set[str]]]:
    for container in workload.containers:
        for env in container.get("env", []):
            source = env.get("valueFrom") or {}
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"], {source[field]["key"]}
        for source in container.get("envFrom", []):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"], set()
    for volume in workload.spec.get("volumes", []):
        for source in (volume, *(volume.get("projected") or {}).get("sources", [])):
            for field, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", None)):
                if field in source:
                    one = source[field]
                    yield kind, one.get(name or "secretName") or one["name"], {item["key"] for item in one.get("items", [])}
    for secret in workload.spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"], set()


def accounts_are_there(release: Release) -> Iterator[str]:
    for workload in release.workloads:
        name = workload.spec.get("serviceAccountName")
        if name is None:
            yield f"{workload} runs with the namespace's default account"
        elif not release.named("ServiceAccount", name) and not release.named_in_values(name):
            yield f"{workload}: ServiceAccount {name} is not rendered"


def services_lead_to_one_workload(release: Release) -> Iterator[str]:
    for service in release.kinds("Service"):
        selector = service["spec"].get("selector") or {}
        found = [workload for workload in release.selected(selector) if workload.kind in LONG_RUNNING]
        if len(found) != 1:
            yield f"{known_as(service)} selects {[str(one) for one in found]}"
        for workload in found:
            ports = workload.ports()
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in ports:
                    yield f"{known_as(service)}: {workload} has no port {target!r}"


def stateful_sets_have_their_service(release: Release) -> Iterator[str]:
    for one in release.kinds("StatefulSet"):
        service = release.named("Service", one["spec"].get("serviceName", ""))
        if service is None:
            yield f"{known_as(one)}: Service {one['spec'].get('serviceName')} is not rendered"


def budgets_let_a_drain_pass(release: Release) -> Iterator[str]:
    """An eviction of a pod of a workload with one replica goes through: a budget that forbids it blocks every node drain."""
    for one in release.kinds("PodDisruptionBudget"):
        spec = one["spec"]
        found = release.chosen(spec["selector"])
        if len(found) != 1:
            yield f"{known_as(one)} is of {[str(workload) for workload in found]}"
        if "minAvailable" in spec:
            replicas = min([int(workload.one["spec"].get("replicas", 1)) for workload in found], default=1)
            if _of(spec["minAvailable"], replicas) >= replicas:
                yield f"{known_as(one)}: minAvailable {spec['minAvailable']} of {replicas} blocks a drain"
        elif _of(spec.get("maxUnavailable", 0), 1) < 1:
            yield f"{known_as(one)}: maxUnavailable {spec.get('maxUnavailable')} blocks a drain"


def _of(amount: Any, replicas: int) -> int:
    """A count, or a percentage, which Kubernetes rounds up."""
    return -(-int(amount.removesuffix("%")) * replicas // 100) if isinstance(amount, str) else int(amount)


def autoscalers_scale_what_is_there(release: Release) -> Iterator[str]:
    """And no other object sets the number of replicas: an upgrade would set them back."""
    for one in release.kinds("HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        found = release.named(target["kind"], target["name"])
        if found is None or found["apiVersion"] != target["apiVersion"]:
            yield f"{known_as(one)}: {target['kind']} {target['name']} is not rendered"
        elif "replicas" in found["spec"]:
            yield f"{known_as(one)}: {known_as(found)} says its replicas itself"
        if one["spec"]["minReplicas"] > one["spec"]["maxReplicas"]:
            yield f"{known_as(one)}: minReplicas is above maxReplicas"


def routes_lead_to_services(release: Release) -> Iterator[str]:
    for one, name, port in _backends(release):
        service = release.named("Service", name)
        if service is None:
            yield f"{known_as(one)}: Service {name} is not rendered"
        elif port not in {part.get(key) for part in service["spec"]["ports"] for key in ("port", "name")} - {None}:
            yield f"{known_as(one)}: Service {name} has no port {port!r}"
    for one in release.kinds("Ingress"):
        for tls in one["spec"].get("tls", []):
            unserved = set(tls.get("hosts", [])) - {rule.get("host") for rule in one["spec"].get("rules", [])}
            yield from (f"{known_as(one)}: a certificate for {host}, which it does not serve" for host in unserved)


def _backends(release: Release) -> Iterator[tuple[Object, str, Any]]:
    for one in release.kinds("Ingress"):
        for rule in one["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield one, service["name"], service["port"].get("name") or service["port"].get("number")
    for one in release.kinds("HTTPRoute"):
        for rule in one["spec"].get("rules", []):
            for backend in rule["backendRefs"]:
                yield one, backend["name"], backend.get("port")


def monitors_find_their_targets(release: Release) -> Iterator[str]:
    for one in release.kinds("PodMonitor"):
        found = release.chosen(one["spec"]["selector"])
        if not found:
            yield f"{known_as(one)} selects no pods"
        for workload in found:
            for endpoint in one["spec"]["podMetricsEndpoints"]:
                if endpoint.get("port") not in workload.ports():
                    yield f"{known_as(one)}: {workload} has no port {endpoint.get('port')!r}"
    for one in release.kinds("ServiceMonitor"):
        wanted = one["spec"]["selector"].get("matchLabels", {})
        found_services = [
            service for service in release.kinds("Service") if wanted.items() <= service["metadata"]["labels"].items()
        ]
        ports = {port.get("name") for service in found_services for port in service["spec"]["ports"]}
        if not found_services:
            yield f"{known_as(one)} selects no Service"
        yield from (
            f"{known_as(one)}: no Service that it selects has a port {part.get('port')!r}"
            for part in one["spec"]["endpoints"]
            if part.get("port") not in ports
        )


def roles_are_bound(release: Release) -> Iterator[str]:
    for one in release.kinds("RoleBinding"):
        if release.named(one["roleRef"]["kind"], one["roleRef"]["name"]) is None:
            yield f"{known_as(one)}: {one['roleRef']['kind']} {one['roleRef']['name']} is not rendered"
        for subject in one["subjects"]:
            if release.named("ServiceAccount", subject["name"]) is None and not release.named_in_values(subject["name"]):
                yield f"{known_as(one)}: ServiceAccount {subject['name']} is not rendered"
            if subject.get("namespace", release.namespace) != release.namespace:
                yield f"{known_as(one)}: the account is in namespace {subject['namespace']}"
    bound = {one["roleRef"]["name"] for one in release.kinds("RoleBinding")}
    yield from (f"{known_as(one)} is bound to nobody" for one in release.kinds("Role") if one["metadata"]["name"] not in bound)


CHECKS = (
    configuration_is_there,
    accounts_are_there,
    services_lead_to_one_workload,
    stateful_sets_have_their_service,
    budgets_let_a_drain_pass,
    autoscalers_scale_what_is_there,
    routes_lead_to_services,
    monitors_find_their_targets,
    roles_are_bound,
)
