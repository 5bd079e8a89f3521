"""The faults of an object, by the schemas of one Kubernetes version or by those of its own CRD."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import SchemaNotFoundError, major_minor, schema_contents
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

CRDS = Path(__file__).parent / "crds"
_META = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def versions(least: int) -> list[str]:
    """Minor versions of Kubernetes 1 that there are schemas of, from 1.`least` on."""
    known = {major_minor(version) for version in kubernetes_validate.utils.all_versions()}
    return [f"1.{minor}" for minor in sorted(int(version.split(".")[1]) for version in known) if minor >= least]


def complaints(one: dict[str, Any], version: str) -> Iterator[str]:
    """By the strict schema of its kind. An object of an unknown kind is a complaint too, never passed over."""
    try:
        found = _validator(one["apiVersion"], one["kind"], version)
    except SchemaNotFoundError:
        yield f"{one['apiVersion']} {one['kind']}: Kubernetes {version} has no such kind, and no schema is in {CRDS.name}/"
        return
    yield from _told(json.dumps(one, sort_keys=True), found)


def _told(text: str, found: Draft202012Validator) -> tuple[str, ...]:
    """Many combinations of values render the same object: each is checked once."""
    key = (text, id(found))
    if key not in _TOLD:
        _TOLD[key] = tuple(f"{error.json_path}: {error.message[:300]}" for error in found.iter_errors(json.loads(text)))
    return _TOLD[key]


_TOLD: dict[tuple[str, int], tuple[str, ...]] = {}


@functools.cache
def _validator(api: str, kind: str, version: str) -> Draft202012Validator:
    schema = _optional(api, kind)
    if schema is None:
        group, _, of = api.rpartition("/")
        name = f"{kind.lower()}-{group.split('.')[0]}-{of}" if group else f"{kind.lower()}-{of}"  # as the package names its files
        try:
            schema = schema_contents(f"{_folder(version)}/{name}.json", version)
        except FileNotFoundError:
            raise SchemaNotFoundError(kind, version, api) from None
    return Draft202012Validator(schema, registry=_kubernetes(version))


def _optional(api: str, kind: str) -> dict[str, Any] | None:
    group, _, version = api.rpartition("/")
    file = CRDS / f"{kind}-{group}-{version}.json"
    if file.exists():
        whole: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return whole | {"allOf": [{"properties": {"metadata": {"$ref": _META}}}]}
    if api == "rabbitmq.com/v1beta1":
        spec = yaml.safe_load((CRDS / "rabbitmq.com.yaml").read_text(encoding="utf-8")).get(kind)
        properties = {"apiVersion": {}, "kind": {}, "metadata": {"$ref": _META}, "spec": spec}
        return spec and {"type": "object", "required": ["spec"], "additionalProperties": False, "properties": properties}
    return None


@functools.cache
def _kubernetes(version: str) -> Registry[Any]:
    """The package reads its 2 MB of definitions again for each object; here once a version."""
    definitions = schema_contents(f"{_folder(version)}/_definitions.json", version)
    whole = Resource.from_contents(definitions, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(definitions["$id"], whole)
    return registry.crawl()


def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version}.0-local-strict"
