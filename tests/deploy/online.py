"""The objects that Helm renders where it has a cluster to look at: an HTTP server has the objects that its `lookup` finds."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiohttp import web

from tests.deploy.render import CHART, NEWEST, Object, Strict
from tests.servers import helm
from tests.servers.http import serving

# The kinds that the chart makes without optional APIs, and looks for: Helm asks the cluster whether it has them.
_KINDS = {
    "v1": ["ServiceAccount", "Secret", "ConfigMap", "Service", "Pod", "Namespace"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "batch/v1": ["Job"],
    "coordination.k8s.io/v1": ["Lease"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
}
BESIDE: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "jobs"}}
DEFAULT: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}


def owned(one: Object, **more: object) -> Object:
    """As it is in the cluster, once Helm has made it for the release `headrace`. more: what its metadata has besides."""
    marks = {"meta.helm.sh/release-name": "headrace", "meta.helm.sh/release-namespace": "jobs"}
    annotations = {"annotations": {**one["metadata"].get("annotations", {}), **marks}}
    whole = {key: value for key, value in one.items() if key != "stringData"}
    coded = {key: base64.b64encode(value.encode()).decode() for key, value in one.get("stringData", {}).items()}
    return whole | {"metadata": {**one["metadata"], **annotations, **more}} | ({"data": coded} if coded else {})


@dataclass(frozen=True)
class Online:
    """folder: for the kubeconfig. objects: that the cluster has. forbidden: as `namespaces/default`, what may not be read."""

    folder: Path
    objects: Sequence[Object] = ()
    forbidden: Sequence[str] = ()
    asked: list[str] = field(default_factory=list)

    async def render(self, *values: Mapping[str, object], program: Path | None = None) -> tuple[Object, ...]:
        """As `helm install` or `helm upgrade` would there. Raises ValueError with Helm's refusal."""
        async with self._kubeconfig() as file:
            command = ["template", "headrace", str(CHART), "--namespace=jobs", f"--kube-version={NEWEST}.0", f"--kubeconfig={file}"]
            command += ["--dry-run=server", "--disable-openapi-validation"]
            command += [f"--set-json={key}={json.dumps(part)}" for one in values for key, part in one.items()]
            done = await asyncio.to_thread(helm.run, program or helm.helm(), *command)
        if done.returncode:
            raise ValueError(done.stderr)
        return tuple(one for one in yaml.load_all(done.stdout, Loader=Strict) if one)

    @asynccontextmanager
    async def _kubeconfig(self) -> AsyncIterator[Path]:
        async with serving(self._answer) as url:
            whole = {
                "clusters": [{"name": "it", "cluster": {"server": url}}],
                "users": [{"name": "it", "user": {"token": "any"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "current-context": "it",
            }
            (self.folder / "kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **whole}))
            yield self.folder / "kubeconfig"

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        told = {"/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}} | self._discovery()
        told |= {_path(one): one for one in self.objects}
        self.asked.append(request.path)
        if any(request.path.endswith(f"/{one}") for one in self.forbidden):
            return _status(403, "Forbidden", request.path)
        return web.json_response(told[request.path]) if request.path in told else _status(404, "NotFound", request.path)

    def _discovery(self) -> dict[str, Object]:
        groups = [version.partition("/") for version in _KINDS if "/" in version]
        named = [{"groupVersion": f"{group}/{version}", "version": version} for group, _, version in groups]
        listed = [{"name": one["groupVersion"].partition("/")[0], "versions": [one], "preferredVersion": one} for one in named]
        roots: dict[str, Object] = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed},
        }
        return roots | {_root(version): _resources(version, kinds) for version, kinds in _KINDS.items()}


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _plural(kind: str) -> str:
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")


def _resources(version: str, kinds: Sequence[str]) -> Object:
    resources = [
        {"name": _plural(kind), "singularName": "", "kind": kind, "namespaced": kind != "Namespace", "verbs": ["get"]}
        for kind in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _path(one: Object) -> str:
    version, meta = one["apiVersion"], one["metadata"]
    namespace = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    return f"{_root(version)}{namespace}/{_plural(one['kind'])}/{meta['name']}"


def _status(code: int, reason: str, path: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": f"{reason}: {path}",
    }
    return web.json_response(body, status=code)
