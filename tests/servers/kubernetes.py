"""A Kubernetes cluster: that of $KUBECONFIG, else one that this machine has built, with the tool that $HEADRACE_CLUSTER names.

Each difference between clusters is a hook: loading images, stopping a component, killing a pod's processes. One that a cluster does
not have skips the test with its name, or fails it where `kubernetes` is required.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import find, hidden, missing
from tests.servers.kind import Kind, named

SCRIPT = Path(os.environ.get("HEADRACE_CLUSTER") or Path(__file__).parents[2] / "../shared/cluster/cluster")


class Cluster:
    """kubeconfig: of an administrator. script: what stops and starts its components, or None where they are not ours.

    kind: where it is a kind cluster of this machine. image: a container that does nothing and ends at SIGTERM.
    """

    def __init__(self, kubeconfig: str, script: Path | None) -> None:
        self.kubeconfig = kubeconfig
        self._script = script
        self._kubectl = find("kubernetes", "kubectl")
        name = named(kubeconfig)
        self.kind = Kind(name) if name else None
        self.image = "headrace.local/pause:1" if script else self._pause()

    @property
    def local(self) -> bool:
        """Whether it is the one beside this folder, which reaches no registry."""
        return self._script is not None

    def kubectl(self, *arguments: str, given: str = "", check: bool = True, seconds: float = 0) -> str:
        """seconds: for a slow command, of many requests or of one; without it a request may take 20 s."""
        command: list[str | Path] = [self._kubectl, "--kubeconfig", self.kubeconfig]
        command += [*([] if seconds else ["--request-timeout=20s"]), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds or 60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def component(self, action: str, name: str, *arguments: str) -> None:
        """`stop` or `start` a component. Skips the test where the cluster is somebody else's."""
        if self.kind is not None:
            self.kind.component(action, name, *arguments)
        elif self._script is not None:
            _run(self._script, action, name, *arguments)
        else:
            missing("kubernetes", "hook `component`: the components of the cluster of $KUBECONFIG are not ours to stop")

    def kill(self, pod: dict[str, Any]) -> bool:
        """SIGKILL the processes of a pod, whose containers the kubelet then starts again. False where that is another machine."""
        if self.kind is not None:
            return self.kind.kill(pod["spec"]["nodeName"], pod["metadata"]["uid"])
        if not self.local:
            return False
        uid = pod["metadata"]["uid"].replace("-", "[-_]")
        found = [path for path in Path("/proc").glob("[0-9]*/cgroup") if re.search(f"pod{uid}", _text(path))]
        victims = [int(path.parent.name) for path in found if "pause" not in _text(path.with_name("comm"))]
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return bool(victims)

    def load(self, *images: str) -> None:
        """Have the cluster know images of this machine's Docker engine. Skips the test where that is neither ours nor kind's."""
        if self.kind is not None:
            self.kind.load(*images)
        elif self._script is not None:
            for image in images:
                _run(self._script, "image", image)
        else:
            missing("kubernetes", "hook `load`: the cluster of $KUBECONFIG is neither ours nor kind's")

    def nodes(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        return items

    def _pause(self) -> str:
        """Under the name that the nodes have it: a registry may be out of reach."""
        known = (name for node in self.nodes() for image in node["status"].get("images", ()) for name in image.get("names", ()))
        return next((name for name in known if re.search(r"/pause:[0-9.]+$", name)), "registry.k8s.io/pause:3.10")


class Namespace:
    """A namespace of one test's own."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = f"headrace-test-{uuid.uuid4().hex[:8]}"
        cluster.kubectl("create", "namespace", self.name)

    def kubectl(self, *arguments: str, given: str = "", check: bool = True, seconds: float = 0) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, given=given, check=check, seconds=seconds)

    def get(self, kind: str, *more: str) -> dict[str, Any]:
        """One by its name, or all of them, or those that options select."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, *more, "--output=json"))
        return found

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("create", "--filename=-", given="\n---\n".join(json.dumps(one) for one in objects))

    def workload(self, name: str, replicas: int, *, kind: str = "Deployment", image: str = "", cpu: str = "1m") -> None:
        """One whose pods do nothing, end at once, and carry the metrics port 9100."""
        labels = {"app.kubernetes.io/name": name}
        container: dict[str, Any] = {"name": "main", "image": image or self.cluster.image, "imagePullPolicy": "IfNotPresent"}
        container["resources"] = {"requests": {"cpu": cpu}}
        spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
        template = {"metadata": {"labels": labels, "annotations": {"headrace/metrics-port": "9100"}}, "spec": spec}
        whole = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        if kind == "StatefulSet":
            whole |= {"serviceName": name, "podManagementPolicy": "Parallel"}
        self.apply({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": whole})

    def template(self, name: str, *, cpu: str = "1m") -> None:
        """A CronJob that is suspended, whose Jobs have pods that do nothing until SIGTERM, and then fail."""
        container: dict[str, Any] = {"name": "main", "image": self.cluster.image, "imagePullPolicy": "IfNotPresent"}
        container["resources"] = {"requests": {"cpu": cpu}}
        spec = {"terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "containers": [container]}
        notes = {"headrace/metrics-port": "9100"}
        pod = {"metadata": {"labels": {"app.kubernetes.io/name": name}, "annotations": notes}, "spec": spec}
        job = {"spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 5, "template": pod}}
        whole = {"suspend": True, "schedule": "0 0 31 2 *", "jobTemplate": job}
        self.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": whole})

    def end(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false", check=False)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running() as one:
        yield one


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Started, and stopped again, unless it was there."""
    if hidden("kubernetes"):
        missing("kubernetes", "hidden")
    given, home = os.environ.get("KUBECONFIG"), built()
    if given:
        yield Cluster(given, SCRIPT if home is not None and Path(given).is_relative_to(home) else None)
        return
    if home is None:
        missing("kubernetes", "KUBECONFIG is not set, and no cluster was built on this machine")
    ours = "kube-apiserver stopped" in _run(SCRIPT, "status")
    kubeconfig, path = re.findall(r"=(\S+)", _run(SCRIPT, "up"))[:2]
    os.environ["PATH"] = f"{path.split(':', maxsplit=1)[0]}:{os.environ['PATH']}"
    try:
        yield Cluster(kubeconfig, SCRIPT)
    finally:
        if ours:
            _run(SCRIPT, "down")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    made = Namespace(cluster)
    yield made
    made.end()


def _text(path: Path) -> str:
    """Empty for a process that has just ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def built() -> Path | None:
    """Where the built cluster is, as its script says, or None."""
    if hidden("kubernetes") or not SCRIPT.exists():
        return None
    default = re.search(r"HEADRACE_CLUSTER_HOME:-([^}]+)", SCRIPT.read_text(encoding="utf-8"))
    home = Path(os.environ.get("HEADRACE_CLUSTER_HOME") or (default.group(1) if default else ""))
    return home if (home / "bin" / "kubectl").exists() else None


def _run(script: Path, *arguments: str) -> str:
    done = subprocess.run([script, *arguments], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout  # what the script leaves running has its output elsewhere, and holds no pipe of ours
