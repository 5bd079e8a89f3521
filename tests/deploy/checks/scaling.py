"""The workloads that the controller scales exist, and the controller may do what it needs and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from autoscaler.settings import ControllerSettings
from consumer.settings import ConsumerSettings
from core import project
from core.errors import SettingsError
from tests.deploy.checks.environment import programs, settings_of
from tests.deploy.release import Release, Workload, known_as
from tests.deploy.render import Object

_RBAC = Path(__file__).parents[3] / "docs/rbac.md"


def _settings(release: Release, of: str) -> Iterator[tuple[Workload, Any]]:
    for workload, container, which in programs(release):
        if which == of:
            try:
                yield workload, settings_of(release, workload, container)[0]
            except SettingsError:
                continue  # which settings_are_taken complains about


def controllers(release: Release) -> Iterator[tuple[Workload, ControllerSettings]]:
    yield from _settings(release, "autoscaler")


def consumers(release: Release) -> Iterator[tuple[Workload, ConsumerSettings]]:
    yield from _settings(release, "consumer")


def every_queue_is_consumed_once(release: Release) -> Iterator[str]:
    """Each of the contracts' queues, by one workload: a queue without one fills up, and with two it is not scaled."""
    count: Counter[str] = Counter()
    for _, settings in consumers(release):
        count.update(settings.queues.split(",") if settings.queues else _queues())
    yield from (f"nobody consumes {queue}" for queue in _queues() if not count[queue])
    yield from (f"{times} workloads consume {queue}" for queue, times in count.items() if times > 1)
    yield from (f"there is no queue {queue}" for queue in count if queue not in _queues())


@cache
def _queues() -> tuple[str, ...]:
    return project.catalogue().topology().queues


def what_is_scaled_is_there(release: Release) -> Iterator[str]:
    """Each workload of the controller: a Deployment with these queues and this concurrency, whose replicas no other object sets; or
    a CronJob that is suspended, as `job/NAME`, whose Jobs run one pod each."""
    there = {_scaled_as(workload): settings for workload, settings in consumers(release)}
    for who, settings in controllers(release):
        yield from (f"{who} does not scale {name}" for name in there.keys() - {one.name for one in settings.workloads})
        for one in settings.workloads:
            found = release.named("CronJob" if one.ends_itself else "Deployment", one.name.removeprefix("job/"))
            if found is None or one.name not in there:
                yield f"{who} scales {one.name}, which is no Deployment of consumers, and no template of Jobs"
                continue
            if one.ends_itself:
                yield from _wrong_of_jobs(found)
            if "replicas" in found["spec"] and not settings.dry_run and who.one["spec"]["replicas"]:
                yield f"{one.name}: says its replicas itself, so an upgrade takes back what {who} did"
            if set(there[one.name].queues.split(",")) != set(one.queues):
                yield f"{one.name} consumes {there[one.name].queues}, and {who} looks at {','.join(one.queues)}"
            if one.policy.get("concurrency", 32) != there[one.name].concurrency:
                yield f"{one.name} runs {there[one.name].concurrency} at once, and {who} counts on {one.policy.get('concurrency')}"
        if settings.actuator != "kubernetes":
            yield f"{who} scales processes"


def _scaled_as(workload: Workload) -> str:
    return f"job/{workload.name}" if workload.kind == "CronJob" else workload.name


def _wrong_of_jobs(one: Object) -> Iterator[str]:
    job = one["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    commands = [container["command"] for container in pod["containers"] if container["name"] == "consumer"]
    if one["spec"].get("suspend") is not True:
        yield f"{known_as(one)} makes Jobs by itself"
    if job.get("backoffLimit") != 0 or pod.get("restartPolicy") != "Never":
        yield f"{known_as(one)} starts again what failed: that is the broker's part"
    if "ttlSecondsAfterFinished" not in job:
        yield f"{known_as(one)}: Jobs that have ended stay for ever"
    if not all(command[-1] == "--once" for command in commands):
        yield f"{known_as(one)}: its pods do not end"
    if len(one["metadata"]["name"]) > 52:
        yield f"{known_as(one)}: a CronJob's name has 52 characters at most"


def the_controller_may_do_what_it_needs(release: Release) -> Iterator[str]:
    """Every verb of docs/rbac.md on the kinds that there are, and nothing else. Elsewhere no rights at all."""
    bound = {binding["roleRef"]["name"] for binding in release.kinds("RoleBinding")}
    granted = {triple for role in release.kinds("Role") if role["metadata"]["name"] in bound for triple in _triples(role["rules"])}
    if not any(True for _ in controllers(release)):
        yield from (f"{known_as(role)} is granted, and there is no controller" for role in release.kinds("Role"))
        return
    kinds = {"cronjobs" if one.ends_itself else "deployments" for _, settings in controllers(release) for one in settings.workloads}
    kinds |= {"jobs"} if "cronjobs" in kinds else set()
    documented = {triple for triple in _triples(_documented()) if triple[0] not in ("apps", "batch") or _kind(triple) in kinds}
    needed = set(documented)
    leases = {one["metadata"]["name"] for one in release.kinds("Lease")}
    if {settings.lease_name for _, settings in controllers(release)} <= leases:  # made with the release: no create needed
        needed.discard(("coordination.k8s.io", "leases", "create"))
    yield from (f"the controller may not {verb} {group}/{resource}" for group, resource, verb in sorted(needed - granted))
    yield from (f"the controller may {verb} {group}/{resource}" for group, resource, verb in sorted(granted - documented))


def rights_go_by_name(release: Release) -> Iterator[str]:
    """Where a rule names objects, they are those that the controller asks for."""
    for who, settings in controllers(release):
        jobs = {one.name.removeprefix("job/") for one in settings.workloads if one.ends_itself}
        deployments = {one.name for one in settings.workloads if not one.ends_itself}
        wanted = {"deployments": deployments, "cronjobs": jobs, "leases": {settings.lease_name}}
        for role in release.kinds("Role"):
            for rule in role["rules"]:
                for resource in rule["resources"]:
                    names, kind = set(rule.get("resourceNames", [])), resource.partition("/")[0]
                    if "resourceNames" in rule and not names:
                        yield f"{known_as(role)}: {resource} with an empty list of names is all of them"
                    if names and kind in wanted and names != wanted[kind]:
                        yield f"{known_as(role)}: {resource} named {sorted(names)}, and {who} asks for {sorted(wanted[kind])}"
                    if names and "create" in rule["verbs"]:
                        yield f"{known_as(role)}: create on {resource} by name is never granted"


def _kind(triple: tuple[str, str, str]) -> str:
    return triple[1].partition("/")[0]


def _triples(rules: list[Object]) -> Iterator[tuple[str, str, str]]:
    for rule in rules:
        yield from ((group, what, verb) for group in rule["apiGroups"] for what in rule["resources"] for verb in rule["verbs"])


@cache
def _documented() -> list[Object]:
    block = _RBAC.read_text(encoding="utf-8").split("```yaml\n")[1].partition("```")[0]
    rules: list[Object] = yaml.safe_load(block)["rules"]
    return rules


CHECKS = (
    every_queue_is_consumed_once,
    what_is_scaled_is_there,
    the_controller_may_do_what_it_needs,
    rights_go_by_name,
)
