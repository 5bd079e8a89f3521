"""One release of the chart in a namespace of its own, and a pod beside it from which it is used."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.servers.kubernetes import Cluster, Namespace

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/headrace"
SCRIPTS = Path(__file__).parent / "scripts"
_CLIENT = "client"
Some = TypeVar("Some")
Json = dict[str, Any]

# Jobs of tests/e2e/team. A pod does 32 quick ones at once, and 2 long ones; a job that needs more than 8 s is requeued at a drain.
# Those apart have a pod each.
VALUES: Json = {
    "consumers": {
        "quick": {"queues": ["quick"], "min": 1, "max": 6, "policy": {"service_seconds": 0.2}},
        "long": {
            "queues": ["long"],
            "min": 0,
            "max": 4,
            "concurrency": 2,
            "prefetch": 2,
            "drainSeconds": 8,
            "policy": {"idle_seconds": 5, "service_seconds": 5},
        },
        "apart": {"queues": ["apart"], "mode": "job", "max": 4, "drainSeconds": 8, "job": {"ttlSecondsAfterFinished": 15}},
        "registration": {"queues": ["email", "points"], "max": 2},
        "payouts": {"queues": ["payouts"], "max": 2},
    },
    "controller": {"alertUrl": "http://receiver:9093/api/v2/alerts", "traceUrl": "https://traces.example/{trace_id}"},
    "rabbitmq": {"dev": {"keep": True}},
    # Quotas and budgets are about pods, and the two cores of a small machine have little to ask for.
    "consumerDefaults": {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}},
}


class Release:
    """name: of the release; objects are called NAME-headrace-…. images: values that name the images.

    beside: another one, whose namespace and client it shares; it ends with that one.
    """

    def __init__(self, cluster: Cluster, images: Json, name: str = "t", *, beside: Release | None = None) -> None:
        self.cluster, self.images, self.name = cluster, images, name
        self._namespace: Namespace = Namespace(cluster) if beside is None else beside._namespace
        self._guest = beside is not None
        self.namespace = self._namespace.name
        self.kubectl, self.get, self.end = self._namespace.kubectl, self._namespace.get, self._namespace.end
        self.prefix = name if "headrace" in name else f"{name}-headrace"
        self.notes = ""  # what `helm install` printed
        if not self._guest:
            cluster.kubectl("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")

    # --- helm

    def helm(self, *arguments: str, values: Sequence[Json] = (), timeout: float = 240) -> str:
        """Raises HelmError with helm's output."""
        command = ["helm", "--kubeconfig", self.cluster.kubeconfig, "--namespace", self.namespace, *arguments]
        for one in values:
            command += ["--set-json", ",".join(f"{key}={json.dumps(value)}" for key, value in one.items())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise HelmError(done.stderr)
        return done.stdout

    def install(self, *values: Json, timeout: str = "120s", base: Json = VALUES) -> str:
        """Install and wait until all is ready; the notes."""
        return self.helm(
            "install", self.name, str(CHART), "--wait", "--timeout", timeout, values=[merged(base, self.images, *values)]
        )

    def upgrade(self, *values: Json, options: Sequence[str] = ()) -> str:
        whole = merged(VALUES, self.images, *values)
        return self.helm("upgrade", self.name, str(CHART), "--wait", "--timeout", "180s", *options, values=[whole])

    # --- kubectl

    def apply(self, *objects: Json) -> None:
        self._namespace.apply(*objects)

    def pods(self, component: str, consumer: str = "") -> list[Json]:
        """The pods that are not terminating."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        selector += f",headrace/consumer={consumer}" if consumer else ""
        return [pod for pod in self.get("pods", "--selector", selector)["items"] if "deletionTimestamp" not in pod["metadata"]]

    def replicas(self, consumer: str) -> int:
        return int(self.get("deployment", f"{self.prefix}-consumer-{consumer}")["spec"].get("replicas", 1))

    def jobs(self, consumer: str) -> list[Json]:
        """Those that were made for deliveries of an entry with `mode: job`."""
        items: list[Json] = self.get("jobs", "--selector", f"headrace/made-from={self.prefix}-consumer-{consumer}")["items"]
        return items

    def events(self) -> list[Json]:
        items: list[Json] = self.get("events")["items"]
        return items

    def leader(self) -> str:
        """The pod that has the lead, or "": a holder that has not renewed for a while is none, as when it was killed."""
        spec = self.get("lease", f"{self.prefix}-controller").get("spec", {})
        renewed = datetime.fromisoformat(spec.get("renewTime", "1970-01-01T00:00:00Z").replace("Z", "+00:00"))
        fresh = datetime.now(UTC) - renewed < timedelta(seconds=5)
        return str(spec.get("holderIdentity") or "").partition("_")[0] if fresh else ""

    def secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.get("secret", name)["data"][key]).decode()

    # --- the client pod

    def start_client(self, placed: Json | None = None) -> None:
        """A pod with the API key and Redis' URL, and beside it a receiver of alerts with a Service.

        placed: where, as in a pod's spec.
        """
        image = self.images["image"]
        security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        common = {
            "image": f"{image['repository']}:{image['tag']}",
            "imagePullPolicy": image["pullPolicy"],
            "securityContext": security,
            "volumeMounts": [{"name": "redis", "mountPath": "/etc/e2e/redis"}],
        }
        key = {"secretKeyRef": {"name": f"{self.prefix}-api-key", "key": "key"}}
        # Without a request its share of the CPU is the least there is: while pods start on two cores it did not run for 5.6 s at a
        # time, and timers for its connections ran out that had long been answered.
        client = {
            "name": _CLIENT,
            "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}},
            "command": ["sleep", "infinity"],
            "env": [{"name": "HEADRACE_API_KEY", "valueFrom": key}],
            **common,
        }
        program = (SCRIPTS / "receiver.py").read_text(encoding="utf-8")
        receiver = {"name": "receiver", "command": ["python", "-c", program], **common}
        labels = {
            "app.kubernetes.io/name": "headrace",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": "e2e",
        }
        spec = {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [client, receiver],
            "volumes": [{"name": "redis", "secret": {"secretName": f"{self.prefix}-redis"}}],
            **(placed or {}),
        }
        selector = {"app.kubernetes.io/component": "e2e"}
        allow: Json = {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}],
            "egress": [{}],
        }
        self.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _CLIENT, "labels": labels}, "spec": spec},
            _object("v1", "Service", "receiver", {"selector": selector, "ports": [{"port": 9093}]}),
            _object("networking.k8s.io/v1", "NetworkPolicy", "e2e", allow),
        )
        self.kubectl("wait", f"pod/{_CLIENT}", "--for=condition=Ready", "--timeout=30s")

    def client(self, *command: str, container: str = _CLIENT, given: str = "", seconds: float = 0) -> str:
        """The output of a command in the client pod."""
        run = ("exec", "--stdin", _CLIENT, "--container", container, "--", *command)
        return self.kubectl(*run, given=given, seconds=seconds)

    def script(self, name: str, *arguments: object, timeout: float = 60) -> Any:
        """Run one of tests/e2e/scripts in the client pod; the JSON that it prints."""
        given = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
        key = ["env", f"HEADRACE_API_KEY={self.secret(f'{self.prefix}-api-key', 'key')}"] if self._guest else []
        return json.loads(self.client(*key, "python", "-", *map(str, arguments), given=given, seconds=timeout))

    def submit(
        self, job_type: str, run: str, count: int, *, first: int = 0, rate: float = 0, seconds: float = 0, patience: float = 60
    ) -> Json:
        """Jobs first … first + count - 1 of `run`, each taking `seconds`; at `rate` a second, or as fast as they are confirmed."""
        limit = 120 + patience + (count / rate if rate else 0)
        arguments = (self.url, job_type, run, first, count, rate, seconds, patience)
        told: Json = self.script("submit", *arguments, timeout=limit)
        return told

    def effects(self, run: str, *more: str) -> Json:
        told: Json = self.script("effects", run, *more)
        return told

    def each_once(self, run: str, jobs: int, seconds: float) -> None:
        """Waits until all jobs of the run have left their effect; fails, with their records, if one was begun twice."""
        seen = until(lambda: self.effects(run), lambda seen: seen["effects"] >= jobs, seconds, "all effects")
        again = {where: self.ask(f"/v1/jobs/{where.split()[0]}") for where in seen.pop("again").values()}
        assert seen == {"effects": jobs, "jobs": jobs, "begun": {"1": jobs}, "ended": {"1": jobs}}, again

    def ask(self, path: str, method: str = "GET") -> Any:
        """The JSON of the gateway's answer. Raises RuntimeError for a refusal."""
        told = self.script("ask", self.url, method, path)
        if told["status"] >= 400:
            raise RuntimeError(f"{method} {path}: {told}")
        return told["body"]

    def journal(self, queue: str) -> list[Json]:
        items: list[Json] = self.ask(f"/v1/scaling/{queue}?limit=2000")["items"]
        return items

    def alerts(self, name: str, queue: str) -> list[Json]:
        """Those that were posted to the receiver, one after another."""
        text = self.client("sh", "-c", "cat /tmp/alerts.jsonl 2>/dev/null || true", container="receiver")
        alerts = [alert for line in text.splitlines() for alert in json.loads(line)]
        return [one for one in alerts if (one["labels"]["alertname"], one["labels"]["queue"]) == (name, queue)]

    @property
    def url(self) -> str:
        return f"http://{self.prefix}-gateway"

    # --- the end

    def diagnose(self, folder: Path) -> None:
        """The logs and objects that help to find the reason of a failure."""
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {
            "objects.txt": ("get", "all,pvc,lease,pdb,secret,configmap", "--output=wide"),
            "events.txt": ("get", "events", "--sort-by=.lastTimestamp"),
            "pods.txt": ("describe", "pods"),
        }
        for pod in self.get("pods")["items"]:
            name = pod["metadata"]["name"]
            wanted[f"{name}.log"] = ("logs", name, "--all-containers", "--tail=2000")
            wanted[f"{name}.previous.log"] = ("logs", name, "--all-containers", "--previous", "--tail=500")
        for name, arguments in wanted.items():
            (folder / name).write_text(self.kubectl(*arguments, check=False), encoding="utf-8")
        for queue in ("quick", "long"):
            try:
                text = yaml.safe_dump(self.journal(queue))
            except Exception as error:  # it is down, perhaps: that is what is looked into
                text = str(error)
            (folder / f"journal-{queue}.yaml").write_text(text, encoding="utf-8")


class HelmError(Exception):
    """The output of helm."""


def until(look: Callable[[], Some], wanted: Callable[[Some], bool], seconds: float, what: str) -> Some:
    """Look again and again until it is as wanted; returns that result. Fails with the last result."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            seen: object = error
        else:
            seen = last
            if wanted(last):
                return last
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:g} s; last seen: {str(seen)[:2000]}")


def merged(*values: Json) -> Json:
    """As helm merges values: maps into maps, everything else replaced."""
    whole: Json = {}
    for one in values:
        for key, value in one.items():
            before = whole.get(key)
            whole[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return whole


def _object(version: str, kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def folder_of(test: str) -> Path:
    """Where the diagnostics of a test go; emptied."""
    folder = Path(os.environ.get("HEADRACE_E2E_DIAGNOSTICS", ROOT / "build/e2e")) / test
    shutil.rmtree(folder, ignore_errors=True)
    return folder
