"""Options of pods: each, said for all or for one part, arrives in the pods of every part, by one schema and one template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deploy.release import Release, Workload, known_as
from tests.deploy.render import CHART, NEWEST, Object, refused, render
from tests.deploy.schemas import complaints

pytestmark = pytest.mark.needs("helm")

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# Of each part: where its values are, and the component of its pods.
PARTS = {
    ("gateway",): "gateway",
    ("consumerDefaults",): "consumer",
    ("consumers", "registration"): "consumer",
    ("controller",): "controller",
    ("rabbitmq", "dev"): "rabbitmq",
    ("redis", "dev"): "redis",
    ("mail",): "mail",
    ("bindings",): "bindings",
    ("test",): "test",
}
# Of each option: its value, and where a pod has it.
GIVEN: dict[str, Any] = {
    "env": [{"name": "MINE", "value": "said"}],
    "envFrom": [{"configMapRef": {"name": "mine"}}],
    "volumes": [{"name": "mine", "emptyDir": {}}],
    "volumeMounts": [{"name": "mine", "mountPath": "/mine"}],
    "sidecars": [{"name": "beside", "image": "registry.example/beside:1"}],
    "initContainers": [{"name": "before", "image": "registry.example/before:1"}],
    "podLabels": {"example.com/mine": "said"},
    "podAnnotations": {"example.com/mine": "said"},
    "nodeSelector": {"pool": "mine"},
    "tolerations": [{"key": "mine", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "mine",
    "runtimeClassName": "mine",
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["mine.example"]}],
    "dnsConfig": {"searches": ["mine.example"]},
    "serviceAccount": {"create": False, "name": "mine"},
}


def _of_the_pod(option: str, pod: Workload) -> Any:
    """The value of an option in a pod; lists as far as they hold what was given."""
    main, given = pod.main[0], GIVEN[option]
    if option in ("env", "envFrom", "volumeMounts"):
        return [one for one in main.get(option, []) if one in given]
    if option == "volumes":
        return [one for one in pod.spec.get(option, []) if one in given]
    if option in ("sidecars", "initContainers"):
        name = given[0]["name"]
        return [{"name": name, "image": one["image"]} for one in pod.spec.get("initContainers", []) if one["name"] == name]
    if option in ("podLabels", "podAnnotations"):
        held = pod.pod["metadata"].get(option.removeprefix("pod").lower()) or {}
        return {key: value for key, value in held.items() if key in given}
    if option == "affinity":  # beside which the chart says whom pods had better avoid
        return {key: value for key, value in pod.spec.get(option, {}).items() if key in given}
    if option == "serviceAccount":
        return {"create": False, "name": pod.spec.get("serviceAccountName")}
    return pod.spec.get(option)


def _values(place: tuple[str, ...], value: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(place):
        value = {key: value}
    return value


def _pods(place: tuple[str, ...], release: Release) -> list[Workload]:
    """Those of a part."""
    found = [pod for pod in release.workloads if pod.component == PARTS[place]]
    return [pod for pod in found if place[0] != "consumers" or pod.name.endswith(place[1])]


def test_these_are_all_options_and_all_parts() -> None:
    """A new option of the schema, or a new kind of pod, is not forgotten here."""
    options = {key for key, one in SCHEMA["properties"]["gateway"]["properties"].items() if _is_option(one)}
    assert options == GIVEN.keys()
    assert {pod.component for pod in Release.of({}).workloads} == set(PARTS.values())
    for place in PARTS:
        taken = _section(place)["properties"]
        # An entry of consumers may also clear them, so there they are written out.
        assert (
            options <= taken.keys() if place[0] == "consumers" else {k for k, one in taken.items() if _is_option(one)} == options
        ), place


def _is_option(one: Object) -> bool:
    return any(part["$ref"].startswith("#/properties/") for part in one.get("allOf", []))


def _section(place: tuple[str, ...]) -> Object:
    if place[0] == "consumers":
        return dict(SCHEMA["definitions"]["consumer"])
    at = SCHEMA
    for key in place:
        at = at["properties"][key]
    return at


@pytest.mark.parametrize("option", GIVEN)
def test_what_is_said_for_all_arrives_in_every_pod(option: str) -> None:
    release = Release.of(_needed(option))
    for pod in release.workloads:
        if option == "serviceAccount" and pod.component == "controller":  # it has one of its own, with a Role
            continue
        assert _of_the_pod(option, pod) == GIVEN[option], str(pod)
    assert [f"{known_as(one)}: {what}" for one in release.objects for what in complaints(one, NEWEST)] == []


@pytest.mark.parametrize("place", PARTS, ids=".".join)
@pytest.mark.parametrize("option", GIVEN)
def test_what_a_part_says_arrives_in_its_pods_alone(option: str, place: tuple[str, ...]) -> None:
    release = Release.of(_values(place, _needed(option)))
    mine = _pods(place, release)
    assert mine
    for pod in release.workloads:
        assert (_of_the_pod(option, pod) == GIVEN[option]) is (pod in mine), str(pod)


def _needed(option: str) -> dict[str, Any]:
    """A mount needs its volume."""
    return {option: GIVEN[option]} | ({"volumes": GIVEN["volumes"]} if option == "volumeMounts" else {})


def test_what_a_part_says_goes_before_what_is_said_for_all() -> None:
    """It is added, and replaces what has its name; or it takes the place as a whole, an empty one too."""
    release = Release.of(
        {
            "env": [{"name": "A", "value": "all"}, {"name": "B", "value": "all"}],
            "podLabels": {"a": "all", "b": "all", "c": "all"},
            "podAnnotations": {"a": "all"},
            "nodeSelector": {"pool": "general"},
            "tolerations": [{"key": "general"}],
            "priorityClassName": "general",
            "gateway": {
                "env": [{"name": "B", "value": "own"}],
                "podLabels": {"b": "own", "c": ""},
                "podAnnotations": {"a": ""},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [],
                "priorityClassName": "",
            },
        }
    )
    (gateway,) = _pods(("gateway",), release)
    told = {one["name"]: one["value"] for one in gateway.main[0]["env"]}
    assert (told["A"], told["B"]) == ("all", "own")
    assert (gateway.labels["a"], gateway.labels["b"], gateway.labels["c"]) == ("all", "own", "")
    assert gateway.pod["metadata"]["annotations"]["a"] == ""
    assert gateway.spec["nodeSelector"] == {"disk": "ssd"}
    assert "tolerations" not in gateway.spec
    assert gateway.spec["priorityClassName"] == "general"


def test_sidecars_start_before_the_program_and_end_after_it() -> None:
    """So a drain still has its proxy, and a Job ends although one goes on: as Kubernetes has them since 1.29."""
    own = {"readOnlyRootFilesystem": False}
    given = [{"name": "beside", "image": "b:1"}, {"name": "writes", "image": "w:1", "securityContext": own}]
    release = Release.of({"sidecars": given, "initContainers": [{"name": "before", "image": "i:1"}]})
    for pod in release.workloads:
        beside, writes, before = pod.spec["initContainers"]
        assert (beside["restartPolicy"], writes["restartPolicy"], before.get("restartPolicy")) == ("Always", "Always", None)
        assert beside["securityContext"] == pod.main[0]["securityContext"]
        assert writes["securityContext"] == own
        assert before["name"] == "before"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gateway": {"volumes": [{"name": "broker", "emptyDir": {}}]}}, ("gateway.volumes", "broker")),
        ({"volumes": [{"name": "tmp", "emptyDir": {}}]}, ("volumes", "tmp")),
        ({"redis": {"dev": {"volumeMounts": [{"name": "x", "mountPath": "/data"}]}}}, ("redis.dev.volumeMounts", "/data")),
        ({"rabbitmq": {"dev": {"env": [{"name": "HOME", "value": "/"}]}}}, ("rabbitmq.dev.env", "HOME")),
        ({"test": {"env": [{"name": "HEADRACE_API_KEY", "value": "x"}]}}, ("test.env", "HEADRACE_API_KEY")),
        ({"env": [{"name": "HEADRACE_BROKER_FILE", "value": "x"}]}, ("env", "HEADRACE_BROKER_FILE")),
        ({"controller": {"env": [{"name": "HEADRACE_CA_FILE", "value": "x"}]}}, ("controller.env", "HEADRACE_CA_FILE")),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, ("podLabels", "app.kubernetes.io/name")),
        ({"gateway": {"podLabels": {"headrace/consumer": "x"}}}, ("gateway.podLabels", "headrace/consumer")),
        ({"gateway": {"podLabels": {"a": "no label"}}}, ("podLabels",)),
        ({"gateway": {"service": {"labels": {"a": "no label"}}}}, ("/gateway/service/labels",)),
        ({"commonLabels": {"no key": "x"}}, ("/commonLabels", "no key")),
        ({"monitoring": {"labels": {"example.com/": "x"}}}, ("/monitoring/labels", "example.com/")),
        ({"gateway": {"serviceAccount": {"annotations": {"a": "b"}}}}, ("gateway.serviceAccount.annotations", "create")),
        ({"serviceAccount": {"create": False}}, ("serviceAccount.name",)),
        ({"controller": {"serviceAccount": {"create": False}}}, ("controller.serviceAccount.name",)),
        ({"caBundle": {"existingSecret": "a", "existingConfigMap": "b"}}, ("existingSecret", "existingConfigMap")),
        ({"proxy": {"http": "http://user:word@proxy:3128"}}, ("/proxy/http",)),
        ({"proxy": {"https": "proxy:3128"}}, ("/proxy/https",)),
        ({"gateway": {"service": {"loadBalancerClass": "x"}}}, ("gateway.service.loadBalancerClass", "LoadBalancer")),
        ({"gateway": {"service": {"externalTrafficPolicy": "Local"}}}, ("gateway.service.externalTrafficPolicy",)),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(values: dict[str, Any], words: tuple[str, ...]) -> None:
    said = refused(values)
    assert said
    assert [word for word in words if word not in said] == []


def test_a_part_may_have_an_account_of_its_own() -> None:
    own = {"create": True, "annotations": {"example.com/role": "payouts"}}
    release = Release.of(
        {
            "serviceAccount": {"annotations": {"example.com/role": "jobs"}},
            "consumers": {"payouts": {"serviceAccount": own}},
            "controller": {"serviceAccount": {"create": False, "name": "theirs"}},
        }
    )
    accounts = {one["metadata"]["name"]: one["metadata"].get("annotations") for one in release.kinds("ServiceAccount")}
    assert accounts == {
        "headrace-programs": {"example.com/role": "jobs"},
        "headrace-consumer-payouts": {"example.com/role": "payouts"},
    }
    used = {pod.name: pod.spec["serviceAccountName"] for pod in release.workloads}
    assert used["headrace-consumer-payouts"] == "headrace-consumer-payouts"
    assert used["headrace-consumer-registration"] == used["headrace-gateway"] == "headrace-programs"
    (binding,) = release.kinds("RoleBinding")
    assert [one["name"] for one in binding["subjects"]] == ["theirs"] == [used["headrace-controller"]]


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_authorities_are_mounted_in_every_pod_of_the_image(kind: str) -> None:
    """And nothing else is mounted at the place; brokers and stores of a first try have images of their own."""
    release = Release.of({"caBundle": {f"existing{kind}": "company", "key": "bundle.pem"}})
    for pod in release.workloads:
        told = {one["name"]: one.get("value") for one in pod.main[0].get("env", [])}
        where = [one["mountPath"] for one in pod.main[0].get("volumeMounts", []) if one["name"] == "ca"]
        assert (told.get("HEADRACE_CA_FILE"), where) == (
            (None, []) if pod.component in ("rabbitmq", "redis") else ("/etc/headrace/ca/ca.crt", ["/etc/headrace/ca"])
        ), str(pod)


def test_proxies_are_those_of_whoever_asks_servers_outside() -> None:
    """And the policies let them through to the proxies' port."""
    release = Release.of({"proxy": {"https": "http://proxy.example:3128", "noProxy": [".svc"]}})
    with_proxy = set()
    for pod in release.workloads:
        told = {one["name"]: one.get("value") for one in pod.main[0].get("env", [])}
        assert "HTTP_PROXY" not in told
        if "HTTPS_PROXY" in told:
            with_proxy.add(pod.component)
            assert (told["HTTPS_PROXY"], told["NO_PROXY"]) == ("http://proxy.example:3128", ".svc,headrace-gateway")
    assert with_proxy == {"gateway", "consumer", "controller", "bindings"}
    assert 3128 in _let_through(release)
    assert 3128 not in _let_through(Release.of({}))


def test_policies_let_through_to_every_port_of_redis() -> None:
    external = {"mode": "external", "external": {"existingSecret": "store"}}
    assert {6379, 6380, 26379} <= _let_through(Release.of({"redis": external}))
    external["external"] = {"existingSecret": "store", "ports": [7000, 7001]}
    found = _let_through(Release.of({"redis": external}))
    assert {7000, 7001, 5672} <= found
    assert 6379 not in found


def _let_through(release: Release) -> set[int]:
    policy = release.named("NetworkPolicy", "headrace-programs")
    assert policy is not None
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"] if isinstance(port["port"], int)}


def test_no_pod_asks_for_a_uid_where_the_platform_chooses() -> None:
    """An empty value says it as null does, for which Helm takes the key away."""
    chosen: list[tuple[dict[str, Any], str]] = []
    for none in (None, ""):
        chosen += [({"runAsUser": none}, "all"), ({"redis": {"dev": {"runAsUser": none}}}, "redis")]
    for values, who in chosen:
        for pod in Release.of(values).workloads:
            asked = pod.spec["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"}
            assert bool(asked) is not (who in ("all", pod.component)), str(pod)


def test_dns_is_let_through_at_the_ports_that_the_values_name() -> None:
    release = Release.of({"networkPolicy": {"dnsPorts": [5353]}})
    found = [port for one in release.kinds("NetworkPolicy") for rule in one["spec"].get("egress") or [] for port in rule["ports"]]
    assert {"port": 5353, "protocol": "UDP"} in found
    assert not [port for port in found if port["port"] == 53]


def test_extra_objects_are_rendered_with_their_templates() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-text'}\n"
    text += "data: {port: {{ .Values.gateway.service.port | quote }}}"
    mapping = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": '{{ include "headrace.fullname" . }}-map'}}
    found = {one["metadata"]["name"]: one for one in render({"extraObjects": [text, mapping]}, name="mine")}
    assert found["mine-text"]["data"] == {"port": "80"}
    assert found["mine-headrace-map"]["kind"] == "ConfigMap"


def test_what_the_gateways_service_and_autoscaler_are_told() -> None:
    release = Release.of(CHART / "ci/company-values.yaml")
    service, scaler = release.named("Service", "headrace-gateway"), release.named("HorizontalPodAutoscaler", "headrace-gateway")
    assert service is not None
    assert scaler is not None
    for field in ("loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "externalTrafficPolicy"):
        assert service["spec"][field] == release.values["gateway"]["service"][field]
    assert service["metadata"]["labels"]["example.com/dns"] == "jobs"
    assert scaler["spec"]["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 600}}
    assert [one["resource"]["name"] for one in scaler["spec"]["metrics"]] == ["cpu", "memory"]


def test_replicas_are_spread_over_nodes_and_zones_unless_the_values_say() -> None:
    """No constraint has the zone's label: where the nodes have none, the scheduler would pass over all of them."""
    several = ("gateway", "controller", "consumer")
    for pod in (one for one in Release.of({}).workloads if one.component in several):
        (constraint,) = pod.spec["topologySpreadConstraints"]
        assert constraint["topologyKey"] == "kubernetes.io/hostname"
        (preferred,) = pod.spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert preferred["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
        for one in (constraint, preferred["podAffinityTerm"]):
            assert one["labelSelector"]["matchLabels"].items() <= pod.pod["metadata"]["labels"].items()
            assert one["matchLabelKeys"] == ["pod-template-hash"], "or a rollout puts the new ones together"


def test_who_says_how_pods_are_spread_is_followed() -> None:
    avoid: dict[str, Any] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
    spec = _gateway({"affinity": avoid})
    assert spec["affinity"] == avoid
    assert spec["topologySpreadConstraints"]
    spec = _gateway({"topologySpreadConstraints": []})
    assert spec["topologySpreadConstraints"] == []
    assert "affinity" not in spec


def _gateway(values: dict[str, Any]) -> Object:
    (pod,) = (one for one in Release.of({"gateway": values}).workloads if one.component == "gateway")
    return pod.spec
