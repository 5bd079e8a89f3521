"""Every check finds what it is there to find: a rendered release is broken in one place, and it complains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.deploy.checks import MODULES, environment, network, pods, references, scaling, shape
from tests.deploy.release import Release
from tests.deploy.render import CHART, Object

pytestmark = pytest.mark.needs("helm")

Check = Callable[[Release], Iterator[str]]
GONE = object()


def put(kind: str, component: str, path: str, value: Any) -> Callable[[list[Object]], None]:
    """Set what is at the path of the first object of that kind and component; GONE removes it. `~` stands for a / in a key."""

    def change(objects: list[Object]) -> None:
        place: Any = next(one for one in objects if one["kind"] == kind and _component(one) == component)
        *first, last = [int(key) if key.isdigit() else key.replace("~", "/") for key in path.split("/")]
        for key in first:
            place = place[key]
        if value is GONE:
            del place[last]
        elif isinstance(last, int) and last == len(place):
            place.append(value)
        else:
            place[last] = value

    return change


def _component(one: Object) -> str:
    return str(one["metadata"]["labels"]["app.kubernetes.io/component"])


def without(kind: str, component: str) -> Callable[[list[Object]], None]:
    def change(objects: list[Object]) -> None:
        objects[:] = [one for one in objects if one["kind"] != kind or _component(one) != component]

    return change


def drop_policy(objects: list[Object], end: str) -> None:
    objects[:] = [one for one in objects if one["kind"] != "NetworkPolicy" or not one["metadata"]["name"].endswith(end)]


def variable(component: str, name: str, value: str) -> Callable[[list[Object]], None]:
    """Of the first container of that Deployment."""

    def change(objects: list[Object]) -> None:
        for one in objects:
            if one["kind"] == "Deployment" and _component(one) == component:
                env = one["spec"]["template"]["spec"]["containers"][0]["env"]
                env[:] = [*(other for other in env if other["name"] != name), {"name": name, "value": value}]

    return change


POD = "spec/template/spec"
MAIN = f"{POD}/containers/0"
JOB = "spec/jobTemplate/spec"
BATCH = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "list", "watch"]}
BROKEN: list[tuple[str, Check, Callable[[list[Object]], None]]] = [
    ("dev", shape.nothing_is_null, put("Service", "gateway", "spec/type", None)),
    ("dev", shape.identities_are_unique, lambda objects: objects.append(objects[0])),
    ("dev", shape.everything_is_in_the_namespace, put("Service", "gateway", "metadata/namespace", "other")),
    ("dev", shape.everything_is_in_the_namespace, put("Role", "controller", "kind", "ClusterRole")),
    ("dev", shape.names_can_be_used, put("Service", "gateway", "metadata/name", "1.a")),
    ("dev", shape.labels_are_there, put("Service", "gateway", "metadata/labels/app.kubernetes.io~version", GONE)),
    ("dev", shape.labels_are_there, put("Service", "gateway", "metadata/labels/a", "not a label")),
    ("dev", shape.selectors_last, put("Deployment", "gateway", "spec/selector/matchLabels/helm.sh~chart", "headrace-1")),
    (
        "dev",
        shape.selectors_last,
        put("Deployment", "gateway", "spec/selector/matchLabels", {"app.kubernetes.io/name": "headrace"}),
    ),
    ("dev", pods.resources_are_said, put("Deployment", "gateway", f"{MAIN}/resources/limits", {})),
    ("dev", pods.security_is_restricted, put("Deployment", "consumer", f"{POD}/securityContext/runAsNonRoot", GONE)),
    ("dev", pods.security_is_restricted, put("StatefulSet", "redis", f"{MAIN}/securityContext/capabilities/add", ["CHOWN"])),
    ("dev", pods.security_is_restricted, put("StatefulSet", "rabbitmq", f"{MAIN}/securityContext/readOnlyRootFilesystem", False)),
    ("dev", pods.nothing_of_the_host, put("Deployment", "gateway", f"{POD}/hostNetwork", True)),
    ("dev", pods.nothing_of_the_host, put("Deployment", "gateway", f"{POD}/volumes/0/hostPath", {"path": "/"})),
    ("dev", pods.probes_are_there, put("Deployment", "controller", f"{MAIN}/livenessProbe", GONE)),
    ("dev", pods.probes_ask_what_is_there, put("Deployment", "gateway", f"{MAIN}/livenessProbe/httpGet/port", "web")),
    ("dev", pods.probes_ask_what_is_there, put("Deployment", "gateway", f"{MAIN}/livenessProbe/httpGet/path", "/readyz")),
    ("dev", pods.ends_have_time, put("Deployment", "gateway", f"{POD}/terminationGracePeriodSeconds", 25)),
    ("dev", pods.ends_have_time, variable("consumer", "HEADRACE_DRAIN_SECONDS", "60")),
    ("dev", pods.tokens_only_where_needed, put("Deployment", "gateway", f"{POD}/automountServiceAccountToken", GONE)),
    ("dev", pods.tokens_only_where_needed, without("RoleBinding", "controller")),
    ("dev", pods.nothing_stands_twice, put("Deployment", "gateway", f"{MAIN}/env/0/name", "HEADRACE_PORT")),
    ("dev", pods.nothing_stands_twice, put("Deployment", "gateway", f"{MAIN}/volumeMounts/0/name", "nothing")),
    ("dev", pods.images_are_fixed, put("StatefulSet", "redis", f"{MAIN}/image", "localhost:5000/redis")),
    ("dev", references.configuration_is_there, without("Secret", "redis")),
    ("dev", references.configuration_is_there, without("ConfigMap", "rabbitmq")),
    ("dev", references.accounts_are_there, put("Deployment", "gateway", f"{POD}/serviceAccountName", "nobody")),
    (
        "dev",
        references.services_lead_to_one_workload,
        put("Service", "gateway", "spec/selector/app.kubernetes.io~component", "none"),
    ),
    ("dev", references.services_lead_to_one_workload, put("Service", "gateway", "spec/ports/0/targetPort", "web")),
    ("dev", references.stateful_sets_have_their_service, without("Service", "redis")),
    ("dev", references.budgets_let_a_drain_pass, put("PodDisruptionBudget", "gateway", "spec/maxUnavailable", 0)),
    ("dev", references.budgets_let_a_drain_pass, put("PodDisruptionBudget", "gateway", "spec/minAvailable", "100%")),
    ("routes", references.autoscalers_scale_what_is_there, put("Deployment", "gateway", "spec/replicas", 2)),
    ("routes", references.routes_lead_to_services, without("Service", "gateway")),
    ("routes", references.routes_lead_to_services, put("HTTPRoute", "gateway", "spec/rules/0/backendRefs/0/port", 81)),
    ("dev", references.monitors_find_their_targets, put("PodMonitor", "monitoring", "spec/podMetricsEndpoints/0/port", "web")),
    ("dev", references.monitors_find_their_targets, put("ServiceMonitor", "monitoring", "spec/selector/matchLabels/a", "b")),
    ("dev", references.roles_are_bound, without("ServiceAccount", "controller")),
    ("dev", references.roles_are_bound, without("RoleBinding", "controller")),
    ("dev", environment.commands_are_the_projects, put("Deployment", "mail", f"{MAIN}/command/2", "cli.nothing")),
    ("dev", environment.commands_are_the_projects, put("Pod", "test", "spec/containers/0/command/1", "nothing")),
    ("dev", environment.commands_are_the_projects, put("Pod", "test", "spec/containers/0/command/4", "--nothing")),
    ("dev", environment.settings_exist, variable("gateway", "HEADRACE_PROT", "1")),
    ("dev", environment.settings_are_taken, variable("gateway", "HEADRACE_PORT", "many")),
    ("dev", environment.settings_are_taken, variable("controller", "HEADRACE_WORKLOADS", "[{}]")),
    ("dev", environment.files_are_read, variable("consumer", "HEADRACE_BROKER_FILE", "/etc/headrace/nothing")),
    ("dev", environment.keys_are_taken, variable("gateway", "HEADRACE_API_KEYS", "/etc/headrace/nothing")),
    ("dev", environment.keys_are_taken, put("Secret", "gateway", "stringData/key", "hr_another")),
    ("dev", environment.they_listen_where_they_are_asked, variable("gateway", "HEADRACE_HOST", "127.0.0.1")),
    ("dev", environment.they_listen_where_they_are_asked, variable("consumer", "HEADRACE_PROBE_PORT", "9999")),
    ("dev", environment.no_secret_is_shown, variable("gateway", "URL", "amqp://user:word@host:5672")),
    ("dev", scaling.every_queue_is_consumed_once, variable("consumer", "HEADRACE_QUEUES", "email")),
    ("dev", scaling.what_is_scaled_is_there, put("Deployment", "consumer", "spec/replicas", 2)),
    ("dev", scaling.what_is_scaled_is_there, variable("consumer", "HEADRACE_CONCURRENCY", "5")),
    ("dev", scaling.what_is_scaled_is_there, variable("controller", "HEADRACE_WORKLOADS", "")),
    ("dev", scaling.the_controller_may_do_what_it_needs, put("Role", "controller", "rules/0/verbs", ["list"])),
    ("dev", scaling.the_controller_may_do_what_it_needs, put("Role", "controller", "rules/0/verbs", ["list", "watch", "delete"])),
    ("dev", scaling.rights_go_by_name, variable("controller", "HEADRACE_LEASE_NAME", "other")),
    ("jobs", scaling.what_is_scaled_is_there, put("CronJob", "consumer", "spec/suspend", False)),
    ("jobs", scaling.what_is_scaled_is_there, put("CronJob", "consumer", f"{JOB}/backoffLimit", 3)),
    ("jobs", scaling.what_is_scaled_is_there, put("CronJob", "consumer", f"{JOB}/ttlSecondsAfterFinished", GONE)),
    (
        "jobs",
        scaling.what_is_scaled_is_there,
        put("CronJob", "consumer", f"{JOB}/{MAIN.removeprefix('spec/')}/command/3", "--queues=x"),
    ),
    ("jobs", scaling.the_controller_may_do_what_it_needs, put("Role", "controller", "rules/3/verbs", ["list", "watch"])),
    ("dev", scaling.the_controller_may_do_what_it_needs, put("Role", "controller", "rules/1", BATCH)),
    ("jobs", scaling.rights_go_by_name, put("Role", "controller", "rules/2/resourceNames", ["other"])),
    ("jobs", scaling.rights_go_by_name, put("Role", "controller", "rules/2/resourceNames", [])),
    ("dev", network.policies_select_pods, put("NetworkPolicy", "policy", "spec/podSelector/matchLabels/a", "b")),
    ("dev", network.what_is_named_is_reached, put("Service", "redis", "spec/ports/0/port", 6380)),
    ("dev", network.what_is_named_is_reached, lambda objects: drop_policy(objects, "-programs")),
    ("dev", network.what_is_outside_is_reached, variable("consumer", "A_URL", "http://host.example:1234")),
    ("dev", network.the_controller_reaches_consumers, variable("consumer", "HEADRACE_PROBE_PORT", "9999")),
    ("dev", network.strangers_reach_only_what_is_for_them, put("StatefulSet", "redis", "spec/template/metadata/labels", {})),
    ("dev", network.the_gateway_is_reached, variable("gateway", "HEADRACE_PORT", "8000")),
]


def broken(name: str, change: Callable[[list[Object]], None]) -> Release:
    whole = Release.of(CHART / f"ci/{name}-values.yaml")
    objects = copy.deepcopy(list(whole.objects))
    change(objects)
    return Release(tuple(objects), whole.values)


@pytest.mark.parametrize(("name", "check", "change"), BROKEN, ids=lambda one: getattr(one, "__name__", one))
def test_it_complains(name: str, check: Check, change: Callable[[list[Object]], None]) -> None:
    assert list(check(broken(name, change)))


def test_each_is_tried_and_used() -> None:
    written = {value for module in MODULES for key, value in vars(module).items() if _is_check(module, key, value)}
    assert written == {check for module in MODULES for check in module.CHECKS}, "a check that nobody runs"
    assert written == {check for _, check, _ in BROKEN}, "a check that nobody has seen fail"


def _is_check(module: Any, name: str, value: Any) -> bool:
    mine = getattr(value, "__module__", "") == module.__name__
    return (
        mine
        and not name.startswith("_")
        and getattr(value, "__annotations__", {}) == {"release": "Release", "return": "Iterator[str]"}
    )
