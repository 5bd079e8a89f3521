"""Actions of a cluster's operators: drain a node, set a quota, ask what the controller may do."""

from __future__ import annotations

import json

from tests.e2e.release import Json, Release, until


def test_a_drain_of_the_node_is_not_blocked(release: Release) -> None:
    """One replica of each: a budget that wants one to stay would hold up the drain for ever."""
    release.upgrade({"gateway": {"replicas": 1}, "controller": {"replicas": 1}})
    until(lambda: len(release.pods("gateway")) + len(release.pods("controller")), lambda n: n == 2, 60, "one of each")
    told = release.submit("load.quick", "evicted", 300, seconds=0.5)
    ours = f"app.kubernetes.io/instance={release.name},app.kubernetes.io/component!=e2e"
    before = {pod["metadata"]["uid"] for pod in release.get("pods", "--selector", ours)["items"]}
    nodes = [node["metadata"]["name"] for node in json.loads(release.cluster.kubectl("get", "nodes", "--output=json"))["items"]]
    try:
        for node in nodes:
            options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
            release.cluster.kubectl("drain", node, f"--pod-selector={ours}", *options, seconds=120)
        left = [pod for pod in release.get("pods", "--selector", ours)["items"] if pod["metadata"]["uid"] in before]
        assert left == []
    finally:
        for node in nodes:
            release.cluster.kubectl("uncordon", node)
    release.kubectl("rollout", "status", f"deployment/{release.prefix}-gateway", "--timeout=50s")
    seen = until(lambda: release.effects("evicted"), lambda seen: seen["effects"] >= 300, 90, "all effects")
    assert seen["effects"] == seen["jobs"] == told["accepted"] == 300


def test_a_quota_is_told(release: Release) -> None:
    until(release.leader, bool, 60, "a leader")
    until(lambda: release.replicas("quick"), lambda n: n == 1, 60, "one consumer")
    until(lambda: release.replicas("long"), lambda n: n == 0, 60, "no consumer")
    pods = len(release.get("pods")["items"])
    release.kubectl("create", "quota", "few", f"--hard=pods={pods + 1}")
    try:
        until(lambda: release.get("quota", "few"), lambda quota: bool(quota.get("status", {}).get("used")), 30, "the quota counts")
        release.submit("load.quick", "quota", 6000, seconds=0.3)
        workload = f"{release.prefix}-consumer-quick"
        said = until(lambda: _said(release, workload, "Unschedulable"), bool, 60, "an event on the workload")
        assert any("quota" in message for message in said), said
    finally:
        release.kubectl("delete", "quota", "few")
    seen = until(lambda: release.effects("quota"), lambda seen: seen["effects"] >= 6000, 120, "all effects")
    assert seen["effects"] == seen["jobs"] == 6000


def test_the_controller_may_do_what_it_does_and_nothing_else(release: Release) -> None:
    """`kubectl auth can-i --list` as its service account, without what every account may, is its Role."""
    (role,) = [one for one in release.get("roles")["items"] if one["metadata"]["name"] == f"{release.prefix}-controller"]
    wanted = {
        (resource if group == "" else f"{resource}.{group}", tuple(sorted(rule.get("resourceNames", []))), verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    everybody = _may(release, "default")
    assert _may(release, f"{release.prefix}-controller") - everybody == wanted
    assert _may(release, f"{release.prefix}-programs") == everybody


def test_nothing_that_it_did_was_forbidden(release: Release) -> None:
    """All that the controllers have done in these tests: no answer was 403."""
    for pod in release.pods("controller"):
        assert "not allowed to" not in release.kubectl("logs", pod["metadata"]["name"], "--tail=-1")


def _said(release: Release, workload: str, reason: str) -> list[str]:
    return [one["message"] for one in release.events() if (one["involvedObject"]["name"], one["reason"]) == (workload, reason)]


def _may(release: Release, account: str) -> set[tuple[str, tuple[str, ...], str]]:
    """(resource, names, verb) of all rules that hold for a service account."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": release.namespace}}
    who = f"--as=system:serviceaccount:{release.namespace}:{account}"
    said = release.kubectl("create", "--filename=-", "--output=json", "--validate=false", who, given=json.dumps(review))
    rules: list[Json] = json.loads(said)["status"]["resourceRules"]
    return {
        (resource if group == "" else f"{resource}.{group}", tuple(sorted(rule.get("resourceNames", []))), verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
