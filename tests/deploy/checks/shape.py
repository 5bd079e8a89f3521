"""Names, labels, selectors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.deploy.release import LONG_RUNNING, Release, known_as, leaves, matches
from tests.deploy.render import Object

RECOMMENDED = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}
# An upgrade changes these, and a selector or the claims of a StatefulSet cannot be changed.
_CHANGING = {"app.kubernetes.io/version", "helm.sh/chart", "app.kubernetes.io/managed-by"}
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Objects whose names are in DNS, or in the names of pods and their hosts; a Service's begins with a letter. Else no pod is made, or
# the API server warns.
_DNS = {"Deployment": "[a-z0-9]", "StatefulSet": "[a-z0-9]", "Pod": "[a-z0-9]", "Job": "[a-z0-9]", "Service": "[a-z]"}
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass", "StorageClass"}


def nothing_is_null(release: Release) -> Iterator[str]:
    """`key:` with nothing behind it: the strict schemas take it, and with server-side apply it takes the key from who set it."""
    for one in release.objects:
        yield from (f"{known_as(one)}: {path} is null" for path, value in leaves(one) if value is None)


def identities_are_unique(release: Release) -> Iterator[str]:
    count = Counter((one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in release.objects)
    yield from (f"{kind} {name} stands {times} times" for (kind, _, name), times in count.items() if times > 1)


def everything_is_in_the_namespace(release: Release) -> Iterator[str]:
    """Namespaced, and nothing of the whole cluster: the installing user needs no more than rights in one namespace."""
    for one in release.objects:
        if one["kind"] in CLUSTER_WIDE:
            yield f"{known_as(one)} is of the whole cluster"
        elif one["metadata"].get("namespace", release.namespace) != release.namespace:
            yield f"{known_as(one)} is in namespace {one['metadata']['namespace']}"


def names_can_be_used(release: Release) -> Iterator[str]:
    for one in release.objects:
        name = one["metadata"]["name"]
        first = _DNS.get(one["kind"])
        if not _NAME.fullmatch(name) or (first and not re.fullmatch(f"{first}([-a-z0-9]{{0,61}}[a-z0-9])?", name)):
            yield f"{known_as(one)} ({len(name)} characters): no {'DNS label' if first else 'name'} for it"
        if one["kind"] == "StatefulSet" and len(name) > 52:  # its pods' label controller-revision-hash is NAME-HASH
            yield f"{known_as(one)}: longer than 52 characters, so no pod of it can be made"


def labels_are_there(release: Release) -> Iterator[str]:
    for who, labels in _labelled(release):
        yield from (f"{who} lacks the label {name}" for name in sorted(RECOMMENDED - labels.keys()))
        for name, value in labels.items():
            if not _LABEL.fullmatch(str(value)) or not isinstance(value, str):
                yield f"{who}: the label {name} cannot be {value!r}"


def _labelled(release: Release) -> Iterator[tuple[str, Object]]:
    for one in release.objects:
        yield known_as(one), one["metadata"].get("labels") or {}
    for workload in release.workloads:
        # On pods a version would replace them for nothing: all, where only the chart changed; a broker with every release.
        yield f"the pods of {workload}", dict.fromkeys(_CHANGING, "any") | workload.labels


def selectors_last(release: Release) -> Iterator[str]:
    """A workload selects its own pods, no other's, and by nothing that an upgrade changes."""
    for workload in release.workloads:
        if workload.kind not in LONG_RUNNING:
            continue
        selector = workload.one["spec"]["selector"]
        yield from (f"{workload} selects by {name}, which changes" for name in _CHANGING & selector["matchLabels"].keys())
        if not matches(selector, workload.labels):
            yield f"{workload} does not select its own pods"
        yield from (f"{workload} selects the pods of {other} too" for other in release.chosen(selector) if other != workload)
        for claim in workload.one["spec"].get("volumeClaimTemplates", []):
            changing = _CHANGING & (claim["metadata"].get("labels") or {}).keys()
            yield from (f"{workload}: its claims have the label {name}, which changes" for name in changing)


CHECKS = (
    nothing_is_null,
    identities_are_unique,
    everything_is_in_the_namespace,
    names_can_be_used,
    labels_are_there,
    selectors_last,
)
