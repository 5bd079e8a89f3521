"""The variables of a container of a rendered release, and the files of the ConfigMaps and Secrets that are mounted in it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tests.deploy.release import Release, Workload, contents
from tests.deploy.render import Object

# The content of a Secret that is the user's own, by the setting that it is for.
SAMPLES = {
    "HEADRACE_BROKER": "amqp://user:word@broker.example:5672/jobs",
    "HEADRACE_OUTCOMES": "redis://:word@store.example:6379/0",
    "HEADRACE_DATABASE": "postgresql+psycopg://user:word@database.example:5432/points",
    "HEADRACE_MANAGEMENT_URL": "http://user:word@broker.example:15672",
    "HEADRACE_API_KEY": "hr_sample",
    "HEADRACE_CA": (Path(__file__).parent / "authority.pem").read_text(encoding="utf-8"),
}
OTHER = "sample"


def variables(release: Release, container: Object) -> dict[str, str]:
    """By name, with what they hold."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            one = release.named(kind, source[field]["name"]) if field in source else None
            found |= {source.get("prefix", "") + key: value for key, value in contents(one).items()} if one else {}
    for env in container.get("env", []):
        found[env["name"]] = _expanded(env["value"], found) if "value" in env else _referred(release, env)
    return found


def _expanded(value: str, known: dict[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: known.get(match[1], match[0]), value)


def _referred(release: Release, env: Object) -> str:
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        source = env["valueFrom"].get(field)
        if source:
            one = release.named(kind, source["name"])
            return contents(one).get(source["key"], "") if one else SAMPLES.get(env["name"], OTHER)
    return OTHER  # the pod's own name and the like


def file(release: Release, workload: Workload, container: Object, path: str, setting: str) -> str | None:
    """The content of the file; a sample for that setting where it is the user's; None where no such file is mounted."""
    whole = PurePosixPath(path)
    return (folder(release, workload, container, str(whole.parent), setting) or {}).get(whole.name)


def folder(release: Release, workload: Workload, container: Object, path: str, setting: str) -> dict[str, str] | None:
    """The files in it; none where it is the user's and its content is not given; None where no such folder is mounted."""
    for mount in container.get("volumeMounts", []):
        if mount["mountPath"] == path and "subPath" not in mount:
            volume = next(one for one in workload.spec["volumes"] if one["name"] == mount["name"])
            return dict(_files(release, volume, setting))
    return None


def _files(release: Release, volume: Object, setting: str) -> Iterator[tuple[str, str]]:
    for source in (volume, *(volume.get("projected") or {}).get("sources", [])):
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if field in source:
                held = source[field]
                one = release.named(kind, held.get("secretName") or held["name"])
                named = {item["key"]: item["path"] for item in held.get("items", [])}
                texts = contents(one) if one else {key: SAMPLES.get(setting, OTHER) for key in named}
                yield from ((named.get(key, key), text) for key, text in texts.items() if not named or key in named)


def secrets(release: Release) -> set[str]:
    """Every word of the rendered Secrets that is long enough to be one of a kind, both plain and in base64."""
    texts = [text for one in release.kinds("Secret") for text in contents(one).values()]
    words = {word for text in texts for word in re.findall(r"[A-Za-z0-9_]{16,}", text)}
    return words | {base64.b64encode(word.encode()).decode() for word in words}
