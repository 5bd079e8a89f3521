"""Every way to have a broker, a store, mail, a controller, policies and monitors, with every other: all checks on each."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from template.names import OWN
from tests.deploy.checks import ALL
from tests.deploy.release import Release, known_as
from tests.deploy.render import NEWEST, merged, render
from tests.deploy.schemas import complaints

pytestmark = pytest.mark.needs("helm")

BROKERS: dict[str, Any] = {
    "external": {"mode": "external", "external": {"existingSecret": "broker"}},
    "operator": {"mode": "operator"},
    "operator, own": {"mode": "operator", "operator": {"existingSecret": "broker"}},
    "dev": {"mode": "dev"},
    "own": {"mode": "dev", "dev": {"existingSecret": "broker"}},
}
STORES: dict[str, Any] = {
    "external": {"mode": "external", "external": {"existingSecret": "store"}},
    "dev": {"mode": "dev"},
    "own": {"mode": "dev", "dev": {"existingSecret": "store"}},
}
MAILS: dict[str, Any] = {"external": {"mode": "external", "host": "smtp.example"}, "dev": {"mode": "dev"}, "none": {"mode": "none"}}
MORE: dict[str, Any] = {
    "plain": {},
    "bare": {"controller": {"enabled": False}, "networkPolicy": {"enabled": False}, "monitoring": {"podMonitors": False}},
    "dry": {
        "controller": {"dryRun": True},
        "consumers": {
            "payouts": {"enabled": False},
            "other": {"queues": ["payouts"], "resources": {"limits": {"memory": "1Gi"}}},
        },
        "commonLabels": {"team": "jobs"},
    },
    "narrow": {
        "networkPolicy": {
            "gatewayFrom": [{"podSelector": {"matchLabels": {"app": "web"}}}],
            "metricsFrom": [{"namespaceSelector": {}}],
        },
        "database": {"existingSecret": "database"},
        "gateway": {"apiKeys": {"existingSecret": "keys"}},
        "controller": {"replicas": 1, "managementUrl": {"existingSecret": "management"}},
    },
}


@pytest.mark.parametrize(("broker", "store", "mail", "more"), list(product(BROKERS, STORES, MAILS, MORE)))
def test_they_go_together(broker: str, store: str, mail: str, more: str) -> None:
    given: dict[str, Any] = {"rabbitmq": BROKERS[broker], "redis": STORES[store], "mail": MAILS[mail]}
    given = merged({"gateway": {"apiKeys": {"open": broker != "dev" and more != "narrow"}}}, merged(given, MORE[more]))
    release = Release.of(given)
    assert [f"{check.__name__}: {complaint}" for check in ALL for complaint in check(release)] == []
    assert [f"{known_as(one)}: {what}" for one in release.objects for what in complaints(one, NEWEST)] == []


def test_long_names_that_begin_alike_stay_two() -> None:
    long = "jobs-of-the-department-of-finance"
    names = []
    for name in (f"{long}-east", f"{long}-west"):
        made = [one["metadata"]["name"] for one in render({}, name=name) if one["kind"] == "Deployment"]
        assert all(len(one) <= 63 for one in made)
        names.append(set(made))
    assert names[0].isdisjoint(names[1])
    release = "x" * (29 - len(OWN))
    (short,) = {
        one["metadata"]["name"]
        for one in render({}, name=release)
        if one["kind"] == "Service" and "gateway" in one["metadata"]["name"]
    }
    assert short == f"{release}-{OWN}-gateway", "30 characters are not cut"


def test_what_describes_the_gateway_is_not_reached_from_outside() -> None:
    routes: dict[str, Any] = {
        "ingress": {"enabled": True, "hosts": ["a.example"]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
    }
    for paths, reached in ((None, ["/v1"]), (["/v1", "/docs"], ["/v1", "/docs"])):
        made = {one["kind"]: one.get("spec", {}) for one in render({"gateway": routes | ({"publicPaths": paths} if paths else {})})}
        ((rule,), (route,)) = made["Ingress"]["rules"], made["HTTPRoute"]["rules"]
        assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [(path, "Prefix") for path in reached]
        assert [match["path"] for match in route["matches"]] == [{"type": "PathPrefix", "value": path} for path in reached]


def test_an_ingress_may_have_patterns_of_its_controllers() -> None:
    given = {
        "publicPaths": ["/jobs(/|$)(.*)"],
        "ingress": {"enabled": True, "hosts": ["a.example"], "pathType": "ImplementationSpecific"},
    }
    (made,) = (one for one in render({"gateway": given}) if one["kind"] == "Ingress")
    (path,) = made["spec"]["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/jobs(/|$)(.*)", "ImplementationSpecific")


def test_the_pods_of_jobs_are_those_of_a_deployment_that_end() -> None:
    """An entry's options have the same effect on both."""
    entry: dict[str, Any] = {
        "queues": ["payouts"],
        "concurrency": 1,
        "min": 0,
        "nodeSelector": {"disk": "fast"},
        "env": [{"name": "MINE", "value": "1"}],
        "volumes": [{"name": "work", "emptyDir": {}}],
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
    }
    (deployment,) = (one for one in _consumers(entry | {"mode": "deployment"}) if one["kind"] == "Deployment")
    (template,) = (one for one in _consumers(entry | {"mode": "job"}) if one["kind"] == "CronJob")
    stays, ends = deployment["spec"]["template"], template["spec"]["jobTemplate"]["spec"]["template"]
    added = {"annotations": ends["metadata"]["annotations"]}
    assert set(added["annotations"]) == {"cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"}
    assert ends["metadata"] == stays["metadata"] | added
    (container,) = stays["spec"]["containers"]
    once = container | {"command": [*container["command"], "--once"]}
    assert ends["spec"] == stays["spec"] | {"restartPolicy": "Never", "containers": [once]}


def _consumers(payouts: dict[str, Any]) -> list[dict[str, Any]]:
    objects = render({"consumers": {"payouts": payouts}})
    return [one for one in objects if one["metadata"]["labels"].get("headrace/consumer") == "payouts"]


def test_long_names_of_templates_of_jobs_are_cut_and_stay_two() -> None:
    """Those of CronJobs have 52 characters, so that their Jobs' have 63."""
    entries = {f"a-name-of-22-charact-{last}": {"queues": [last], "mode": "job"} for last in "ab"}
    objects = render({"consumers": entries}, name="jobs-of-the-department-of-finance")
    made = [one["metadata"]["name"] for one in objects if one["kind"] == "CronJob"]
    assert len(set(made)) == 2
    assert all(len(name) <= 52 for name in made)
