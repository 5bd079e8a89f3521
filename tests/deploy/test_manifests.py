"""k8s/: the plain manifests are the chart's, and the scripts beside them make what these need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import keys
from tests.servers import find, hidden
from tests.servers.helm import helm
from tests.servers.kubernetes import built

K8S = Path(__file__).parents[2] / "k8s"
MANIFESTS = K8S / "headrace.yaml"
OBJECTS: list[dict[str, Any]] = [one for one in yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")) if one]


def _kubectl() -> Path:
    home = built() if not hidden("kubectl") else None
    return home / "bin/kubectl" if home is not None else find("kubectl", "kubectl")


class Stubs:
    """Programs that note how they were called, and give a fixed answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = folder / "calls"

    def add(self, name: str, script: str = "") -> None:
        path = self._folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self._calls}\n{script}\n')
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
        """alone: with no other programs on PATH than these and the shell's."""
        path = f"{self._folder}:{'/usr/bin:/bin' if not alone else self._plain()}"
        environment = {"PATH": path, "HOME": str(self._folder), "TMPDIR": str(self._folder)}
        return subprocess.run([K8S / script, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)

    def _plain(self) -> Path:
        """Bash and dirname, and nothing else."""
        plain = self._folder / "plain"
        plain.mkdir(exist_ok=True)
        for name in ("bash", "dirname", "env", "sh"):
            if not (plain / name).exists():
                (plain / name).symlink_to(shutil.which(name) or name)
        return plain

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


@pytest.mark.needs("helm")
def test_they_are_what_the_chart_renders() -> None:
    done = subprocess.run([K8S / "render.sh"], env=os.environ | {"HELM": str(helm())}, capture_output=True, text=True, check=True)
    assert MANIFESTS.read_text(encoding="utf-8") == done.stdout, "run: make docs"


def test_they_say_nothing_of_helm_and_hold_no_secret() -> None:
    labels = [label for one in OBJECTS for label in one["metadata"]["labels"]]
    assert not {label for label in labels if "helm" in label or "managed-by" in label}
    assert not [one for one in OBJECTS if one["kind"] == "Secret"]
    assert not [one for one in OBJECTS if "annotations" in one["metadata"]], "hooks are Helm's"


@pytest.mark.needs("kubectl")
def test_kustomize_takes_them_and_changes_namespace_and_image(tmp_path: Path) -> None:
    plain = subprocess.run([_kubectl(), "kustomize", K8S], capture_output=True, text=True, check=True)
    assert len(list(yaml.safe_load_all(plain.stdout))) == len(OBJECTS) + 1  # and the namespace
    ours = {
        "namespace": "another",
        "resources": [os.path.relpath(K8S, tmp_path)],
        "images": [{"name": "headrace", "newName": "registry.example/headrace", "newTag": "1"}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(ours))  # which is YAML too
    done = subprocess.run([_kubectl(), "kustomize", tmp_path], capture_output=True, text=True, check=True)
    changed = list(yaml.safe_load_all(done.stdout))
    names = {one["metadata"]["name"] if one["kind"] == "Namespace" else one["metadata"]["namespace"] for one in changed}
    assert names == {"another"}
    images = {one["image"] for each in changed for one in _containers(each)}
    assert "registry.example/headrace:1" in images
    assert not {image for image in images if image.startswith("headrace")}
    (binding,) = (one for one in changed if one["kind"] == "RoleBinding")
    assert {subject["namespace"] for subject in binding["subjects"]} == {"another"}


def test_every_secret_that_they_mount_is_made_with_the_keys_that_they_read(stubs: Stubs) -> None:
    stubs.add("kubectl")
    made = _secrets(stubs.run("secrets.sh", "somewhere"))
    wanted = dict(_mounted())
    assert wanted
    assert all(wanted[name] <= made[name].keys() for name in wanted)
    (line,) = made["headrace-api-keys"]["keys"].splitlines()
    (kept,) = keys.parse(made["headrace-api-keys"]["keys"], "the Secret")
    ring = keys.Keyring([kept])
    assert ring.find(made["headrace-api-key"]["key"].encode()) == kept
    assert line == keys.line_of("dev", "submit,read,operate", made["headrace-api-key"]["key"]), "as `headrace key new` makes it"
    assert made["headrace-redis"]["url"].split("@")[0].removeprefix("redis://:") in made["headrace-redis"]["redis.conf"]
    again = _secrets(stubs.run("secrets.sh", "somewhere"))
    assert all(again[name] != made[name] for name in made), "random each time"
    assert all("--namespace somewhere" in call for call in stubs.calls)


@pytest.mark.parametrize("name", ["headrace-rabbitmq", "headrace-redis", "headrace-api-keys", "headrace-api-key"])
def test_none_is_made_where_one_is_there(stubs: Stubs, name: str) -> None:
    stubs.add("kubectl", f'case "$*" in *"secret {name} "*) echo secret/{name} ;; esac')
    done = stubs.run("secrets.sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"secret/{name} is in namespace headrace already" in done.stderr


def test_none_is_made_where_the_cluster_cannot_be_asked(stubs: Stubs) -> None:
    stubs.add("kubectl", "exit 1")
    done = stubs.run("secrets.sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the cluster cannot be asked" in done.stderr


@pytest.mark.parametrize(("there", "missing"), [((), "kubectl openssl"), (("openssl",), "kubectl"), (("kubectl",), "openssl")])
def test_the_programs_that_are_missing_are_named_in_one_line(stubs: Stubs, there: tuple[str, ...], missing: str) -> None:
    for name in there:
        stubs.add(name)
    done = stubs.run("secrets.sh", alone=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n"), stubs.calls) == (1, "", 1, [])
    assert done.stderr.startswith(f"secrets: not found on PATH: {missing}. Install it: ")


def test_the_cluster_on_this_machine_has_the_gateways_port_and_the_manifests_image() -> None:
    kind = yaml.safe_load((K8S / "kind.yaml").read_text(encoding="utf-8"))
    (mapping,) = kind["nodes"][0]["extraPortMappings"]
    (gateway,) = (one for one in OBJECTS if one["kind"] == "Service" and one["metadata"]["name"] == "headrace-gateway")
    assert mapping["containerPort"] == gateway["spec"]["ports"][0]["nodePort"]
    assert mapping["listenAddress"] == "127.0.0.1"
    ours = {one["image"] for each in OBJECTS for one in _containers(each) if "/" not in one["image"]}
    assert len(ours) == 1
    assert f"IMAGE:-{ours.pop()}}}" in (K8S / "kind-up.sh").read_text(encoding="utf-8")


def test_a_cluster_is_made_and_gets_the_image_and_only_the_line_for_eval_is_printed(stubs: Stubs) -> None:
    stubs.add("kind", 'case "$*" in *"get clusters") echo another ;; esac; echo noise')
    for name in ("docker", "make"):
        stubs.add(name, "echo noise")
    done = stubs.run("kind-up.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"export KUBECONFIG={K8S.parent}/build/kind.kubeconfig\n"
    steps = [" ".join(call.split()[:3]) for call in stubs.calls]
    assert steps == [
        "docker info",
        "kind get clusters",
        "kind create cluster",
        "make image IMAGE=headrace:dev",
        "docker save --output",
        "kind load image-archive",
    ]
    assert not list(stubs._folder.glob("headrace-image*")), "the archive is gone"


def test_a_cluster_that_is_there_is_kept_and_another_is_left_alone(stubs: Stubs) -> None:
    stubs.add("kind", 'case "$*" in "get clusters") echo headrace ;; esac')
    stubs.add("docker")
    stubs.add("make")
    assert stubs.run("kind-up.sh").returncode == 0
    assert not [call for call in stubs.calls if call.startswith("kind create")]
    assert stubs.run("kind-up.sh", "down").returncode == 0
    assert stubs.calls[-1].startswith("kind delete cluster --name headrace ")


def test_it_says_what_is_missing(stubs: Stubs) -> None:
    assert "kind is not on PATH" in stubs.run("kind-up.sh", alone=True).stderr
    stubs.add("kind")
    assert "docker is not on PATH" in stubs.run("kind-up.sh", alone=True).stderr
    stubs.add("docker", "exit 1")
    done = stubs.run("kind-up.sh", alone=True)
    assert "no Docker engine answers" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def _secrets(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"]["namespace"] for one in made} == {"somewhere"}
    return {one["metadata"]["name"]: one["stringData"] for one in made}


def _mounted() -> dict[str, set[str]]:
    """The keys that pods read, by Secret; none where all of them are mounted."""
    wanted: dict[str, set[str]] = {}
    for each in OBJECTS:
        for volume in _pod(each).get("volumes", []):
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if "secret" in source:
                    name = source["secret"].get("secretName") or source["secret"]["name"]
                    wanted.setdefault(name, set()).update(item["key"] for item in source["secret"].get("items", []))
    return wanted


def _pod(one: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = one.get("spec", {}).get("template", {}).get("spec", {})
    return found


def _containers(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [*_pod(one).get("initContainers", []), *_pod(one).get("containers", [])]
