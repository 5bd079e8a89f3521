"""Pods with the labels of a part of a release, or of no part, that try to connect to all parts from the moment they start."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.release import Json, Release, until
from tests.servers.kubernetes import Namespace

_SCRIPT = Path(__file__).parent / "scripts/probe.py"
_MADE_BY = ("pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")
_PORTS = (9093, 8080)  # of a pod outside: one that the release may reach, as its receiver of alerts, and one that it may not
_LISTEN = "import socket, sys, time\nlisteners = [socket.create_server(('', int(port))) for port in sys.argv[1:]]\ntime.sleep(1e6)"
Answers = dict[tuple[str, str], dict[str, str]]  # by source and node: what came of each destination


class Probes:
    """Two pods of each source, one a worker. first: what came of their first packets."""

    def __init__(self, release: Release, workers: list[str]) -> None:
        self._release, self._workers = release, workers
        self.elsewhere = Namespace(release.cluster)
        self._sources = self._labels()
        self._start_outside()
        self._destinations = self._addresses()
        self._pods = {(source, node): f"probe-{source}-{n}" for source in self._sources for n, node in enumerate(workers)}
        for there in (True, False):
            objects = [self._pod(*key) for key in self._pods if (self._sources[key[0]][0] is self.elsewhere) == there]
            (self.elsewhere.apply if there else release.apply)(*objects)
        self.first = self._of_all(lambda key: self._kubectl(key[0], "logs", self._pods[key]))

    def again(self) -> Answers:
        """The result of the probe now."""
        script = _SCRIPT.read_text(encoding="utf-8")

        def ask(key: tuple[str, str]) -> str:
            run = ("exec", "--stdin", self._pods[key], "--", "python", "-", *self._destinations)
            return self._kubectl(key[0], *run, given=script)

        return self._of_all(ask)

    def end(self) -> None:
        for source, node in self._pods:
            self._kubectl(source, "delete", "pod", self._pods[source, node], "--wait=false")
        self.elsewhere.end()

    def _of_all(self, ask: Any) -> Answers:
        def answer(key: tuple[str, str]) -> dict[str, str]:
            said = until(lambda: ask(key), lambda text: text.startswith("{"), 90, f"what {key} was answered")
            told: dict[str, str] = json.loads(said)
            return told

        with ThreadPoolExecutor(6) as together:
            return dict(zip(self._pods, together.map(answer, self._pods), strict=True))

    def _kubectl(self, source: str, *arguments: str, given: str = "") -> str:
        return str(self._sources[source][0].kubectl(*arguments, given=given))

    def _labels(self) -> dict[str, tuple[Release | Namespace, dict[str, str]]]:
        """The labels that the parts' own pods have, as the cluster and Helm say."""
        release = self._release
        found = {
            name: dict(release.pods(name)[0]["metadata"]["labels"])
            for name in ("gateway", "controller", "rabbitmq", "redis", "mail")
        }
        found["consumer"] = dict(release.pods("consumer", "quick")[0]["metadata"]["labels"])
        for hook in yaml.safe_load_all(release.helm("get", "hooks", release.name)):
            pod = hook if hook["kind"] == "Pod" else hook["spec"]["template"]
            found[pod["metadata"]["labels"]["app.kubernetes.io/component"]] = pod["metadata"]["labels"]
        own = {name: {key: value for key, value in labels.items() if key not in _MADE_BY} for name, labels in found.items()}
        sources: dict[str, tuple[Release | Namespace, dict[str, str]]] = {name: (release, labels) for name, labels in own.items()}
        another = own["consumer"] | {"app.kubernetes.io/instance": "another"}
        sources |= {"stranger": (release, {}), "caller": (release, {"role": "caller"}), "neighbour": (release, another)}
        return sources | {"foreigner": (self.elsewhere, {}), "impostor": (self.elsewhere, own["consumer"])}

    def _start_outside(self) -> None:
        run = ["python", "-c", _LISTEN, *map(str, _PORTS)]
        self.elsewhere.apply(self._shape("outside", {}, self._workers[0], run, ready=True))
        self.elsewhere.kubectl("wait", "pod/outside", "--for=condition=Ready", "--timeout=30s")

    def _addresses(self) -> list[str]:
        release = self._release
        parts = {
            "gateway": ("gateway", 8080),
            "consumer": ("consumer", 8081),
            "controller": ("controller", 8082),
            "amqp": ("rabbitmq", 5672),
            "metrics": ("rabbitmq", 15692),
            "nodes": ("rabbitmq", 25672),  # for other nodes of a broker's cluster
            "redis": ("redis", 6379),
            "mail": ("mail", 2525),
        }
        told = [f"{name}=tcp:{release.pods(part)[0]['status']['podIP']}:{port}" for name, (part, port) in parts.items()]
        system = json.loads(release.cluster.kubectl("get", "services", "--all-namespaces", "--output=json"))["items"]
        services = {one["metadata"]["name"]: one["spec"]["clusterIP"] for one in system}
        node = release.cluster.nodes()[0]["status"]["addresses"][0]["address"]
        outside = self.elsewhere.get("pod", "outside")["status"]["podIP"]
        told += [f"dns={protocol}:{services['kube-dns']}:53" for protocol in ("udp",)] + [f"dns-tcp=tcp:{services['kube-dns']}:53"]
        told += [f"api=tcp:{services['kubernetes']}:443", f"kubelet=tcp:{node}:10250"]
        return [*told, f"alerts=tcp:{outside}:{_PORTS[0]}", f"outside=tcp:{outside}:{_PORTS[1]}"]

    def _pod(self, source: str, node: str) -> Json:
        script = _SCRIPT.read_text(encoding="utf-8") + "import time\ntime.sleep(1e6)\n"
        run = ["python", "-S", "-c", script, *self._destinations]
        return self._shape(self._pods[source, node], self._sources[source][1], node, run)

    def _shape(self, name: str, labels: dict[str, str], node: str, command: list[str], *, ready: bool = False) -> Json:
        """Never ready, so that no Service sends to a pod that has only a part's labels; bound to its node, past the scheduler."""
        image = self._release.images["image"]
        container: Json = {
            "name": "main",
            "image": f"{image['repository']}:{image['tag']}",
            "imagePullPolicy": image["pullPolicy"],
            "command": command,
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        if not ready:
            container["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 60}
        spec = {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
