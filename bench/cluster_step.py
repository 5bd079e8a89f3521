"""A step of load on a real cluster: `make bench-cluster-step`. Some 5 minutes; needs RabbitMQ, Docker and the cluster.

One replica and an empty queue; 30,000 messages within 3 s, then 200/s for 180 s. A pod does 100 jobs/s, at most 30 may be. It is
the step on which KEDA 2.21 with the HPA was measured (polling 5 s), and its figures are beside ours.

The controller is the shipped program with its default policy; but for its bounds, it is told what a pod does. RabbitMQ, the
publisher, the controller and this observer run on the machine that is the cluster's node. The pods run bench/step_worker.py: it
stands for a consumer. Waits are from the time that the publisher wrote into a message to its start in a pod, by the clock of one
machine; the mean is of all 66,000, as theirs is. A pod counts from being asked for until it is gone.

With `--shipped` the pods run the shipped consumer on bench/step_app, with claims and outcomes in a Redis of this machine: thirty
of them need 11 s of CPU to start. Its handlers do not see the flag `redelivered`: there `returned` are jobs that one pod
began twice.

`returned` are messages that came with the flag `redelivered`; `handed_back` those of them that a worker had and had not begun. The
others a quorum queue returns by itself when a consumer cancels just while it is being given one: no worker ever saw them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiormq
import uvloop

from adapters import choose
from autoscaler.actuators.kubernetes import Api, connect
from autoscaler.actuators.kubernetes.api import Resource
from bench.smoke import program, ready
from core import project
from core.clock import SystemClock
from core.envelope import Envelope
from core.errors import ActuatorError
from core.identity import new_job_id
from core.ports import Broker, Message
from core.settings import Settings
from tests.servers import docker, free_port
from tests.servers.kubernetes import Cluster, Namespace, running
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

QUEUE, RESULTS, WORKLOAD = "step", "step.results", "consumer"
APP = "bench.step_app"
BURST, BURST_SECONDS, RATE, RATE_SECONDS = 30_000, 3.0, 200, 180.0
MOST, CONCURRENCY, SERVICE = 30, 10, 0.1
AFTER = 180.0  # seconds after the drain until which pod-seconds are counted
LIMIT = 420.0
IMAGE, SHIPPED = "headrace.local/step-worker:1", "headrace.local/step-consumer:1"
DOCKERFILE = """ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY step_worker.py /
CMD ["python3", "-I", "-S", "/step_worker.py"]
"""
DOCKERFILE_SHIPPED = f"""FROM {SHIPPED}-base
COPY bench bench
ENV HEADRACE_APP={APP}
CMD ["python", "-m", "consumer"]
"""
KEDA = {"asked_for_all": 54.8, "drained": 55.7, "mean_wait": 18.4, "pod_seconds": 5850}
GOALS = {"asked_for_all": 3.0, "drained": 25.0, "mean_wait": 7.0, "pod_seconds": 1500, "returned": 0, "handed_back": 0, "lost": 0}

# Words of a command line that name a program better than its first one, which is python.
_PROGRAMS = {"consumer": "consumers", "/step_worker.py": "consumers", "autoscaler": "controller"}
_SCALE, _PODS = Resource("apps", "v1", "deployments", "scale"), Resource("", "v1", "pods")


@dataclass
class Seen:
    """Seconds since the first message. asked: each change of the replicas. pods: by name, when created and ready."""

    began: float = 0.0
    published: int = 0
    burst_seconds: float = 0.0
    asked: list[tuple[float, int]] = field(default_factory=list)
    drained: float | None = None
    pods: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[tuple[float, int, int, int, int]] = field(default_factory=list)  # second, backlog, asked, pods, ready pods
    cpu: list[tuple[float, float]] = field(default_factory=list)  # second, busy CPU seconds of the machine
    spent: list[dict[str, float]] = field(default_factory=list)  # CPU seconds by program, at the first message and at the drain

    def now(self) -> float:
        return time.time() - self.began


def _image(cluster: Cluster, *, shipped: bool) -> None:
    """Build what the pods run, and have the cluster know it."""
    here, image = Path(__file__).parent, SHIPPED if shipped else IMAGE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if shipped:
            docker.build(f"{SHIPPED}-base")
            shutil.copytree(here / "step_app", folder / "bench/step_app")
            (folder / "bench/__init__.py").touch()
        else:
            shutil.copy(here / "step_worker.py", folder)
        (folder / "Dockerfile").write_text(DOCKERFILE_SHIPPED if shipped else DOCKERFILE)
        docker.build(image, context=folder)
    cluster.load(image)


def _deployment(namespace: Namespace, broker: str, outcomes: str) -> None:
    """outcomes: the store of the shipped consumer; "" for the stand-in, which has none."""
    labels = {"app.kubernetes.io/name": WORKLOAD}
    environment = {"STEP_BROKER": broker, "STEP_QUEUE": QUEUE, "STEP_RESULTS": RESULTS, "STEP_CONCURRENCY": str(CONCURRENCY)}
    if outcomes:
        environment |= {
            "HEADRACE_BROKER": broker,
            "HEADRACE_OUTCOMES": outcomes,
            "HEADRACE_CONCURRENCY": str(CONCURRENCY),
            "HEADRACE_PROBE_HOST": "0.0.0.0",  # noqa: S104 - the kubelet and the controller ask here
        }
    container = {
        "name": "main",
        "image": SHIPPED if outcomes else IMAGE,
        "imagePullPolicy": "Never",
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8081}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m"}},
    }
    spec = {
        "terminationGracePeriodSeconds": 60,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    whole = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    namespace.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": WORKLOAD}, "spec": whole})
    namespace.kubectl("rollout", "status", f"deployment/{WORKLOAD}", "--timeout=40s")


# ------------------------------------------------------------------------------------------------------------ the load


async def publish(broker: Broker, seen: Seen) -> None:
    """The burst as fast as it may be and the broker confirms, then the steady rate."""
    seen.spent.append(spent())
    seen.began = time.time()
    await _paced(broker, seen, BURST, BURST / BURST_SECONDS)
    seen.burst_seconds = seen.now()
    await _paced(broker, seen, round(RATE * RATE_SECONDS), RATE)


async def _paced(broker: Broker, seen: Seen, count: int, rate: float) -> None:
    began, sent = time.monotonic(), 0
    unconfirmed: set[asyncio.Future[None]] = set()
    while sent < count:
        due = min(count, int((time.monotonic() - began) * rate) + 1) - sent
        envelopes = [Envelope(new_job_id(), "step.job", SystemClock().wall()) for _ in range(min(due, 200))]
        window = [Message(one.job_id, one.job_type, one.headers(), b'{"at":%.6f}' % one.accepted_at) for one in envelopes]
        unconfirmed.update(broker.publish(window))
        sent += len(window)
        await asyncio.sleep(0 if due > 200 else 0.01)
        while len(unconfirmed) > 5000 or (sent == count and unconfirmed):
            done, unconfirmed = await asyncio.wait(unconfirmed, return_when=asyncio.FIRST_COMPLETED)
            seen.published += sum(one.exception() is None for one in done)
        for one in [one for one in unconfirmed if one.done()]:
            unconfirmed.discard(one)
            seen.published += one.exception() is None


# -------------------------------------------------------------------------------------------------------- the observer


async def watch_asked(api: Api, seen: Seen) -> None:
    """Ten times a second."""
    while True:
        with contextlib.suppress(ActuatorError):
            replicas = int((await api.call("get", _SCALE, WORKLOAD, timeout=2.0))["spec"].get("replicas") or 0)
            if seen.began and (not seen.asked or seen.asked[-1][1] != replicas):
                seen.asked.append((round(seen.now(), 2), replicas))
        await asyncio.sleep(0.1)


async def watch_rest(api: Api, broker: Broker, seen: Seen) -> None:
    """Twice a second: the queue, the pods, the machine."""
    while True:
        with contextlib.suppress(ActuatorError):
            backlog = (await broker.depth(QUEUE)).ready
            pods = (await api.call("list", _PODS, query={"labelSelector": f"app.kubernetes.io/name={WORKLOAD}"}, timeout=2.0))[
                "items"
            ]
            at = seen.now()
            seen.cpu.append((at, _busy()))
            for pod in pods:
                kept = seen.pods.setdefault(pod["metadata"]["name"], {"seen": at})
                if _is_ready(pod):
                    kept.setdefault("ready", at)
            asked = seen.asked[-1][1] if seen.asked else 1
            seen.rows.append((round(at, 2), backlog, asked, len(pods), sum(map(_is_ready, pods))))
            if backlog == 0 and seen.burst_seconds and seen.drained is None:
                seen.drained = at
                seen.spent.append(spent())
        await asyncio.sleep(0.5)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _busy() -> float:
    """CPU seconds that the machine has spent, of all cores (proc(5): without idle and iowait)."""
    fields = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def spent() -> dict[str, float]:
    """CPU seconds of the processes that are now, by program: ended processes are not counted."""
    found: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            called, _, fields = (folder / "stat").read_text().partition(" (")[2].rpartition(") ")
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            name = next((_PROGRAMS[word] for word in words if word in _PROGRAMS), called)
            if folder.name == str(os.getpid()):
                name = "this benchmark"
            found[name] = found.get(name, 0.0) + sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


async def results(url: str, pods: int) -> list[dict[str, Any]]:
    """The last reports of the workers."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 30
    while len(found) < pods and time.monotonic() < deadline:
        message = await channel.basic_get(RESULTS, no_ack=True)
        if message.body:
            found.append(json.loads(message.body))
        else:
            await asyncio.sleep(0.3)
    await connection.close()
    return found


# ---------------------------------------------------------------------------------------------------------- the report


def pod_seconds(seen: Seen, until: float) -> float:
    """The integral of pods that are there, or asked for and not made yet."""
    total, last = 0.0, 0.0
    for at, _, asked, pods, _ in seen.rows:
        if at > 0:
            total += max(asked, pods) * (min(at, until) - min(last, until))
            last = at
    return total


def quantile(waits: dict[int, int], part: float) -> float:
    left = part * sum(waits.values())
    for tenth in sorted(waits):
        left -= waits[tenth]
        if left <= 0:
            return (tenth + 1) / 10
    return 0.0


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    places = {"least": 0, "median": len(ordered) // 2, "most": -1}
    return {name: round(ordered[place], 1) for name, place in places.items()} if ordered else {}


def _most(seconds: dict[str, float]) -> dict[str, float]:
    """The ten programs with the most CPU seconds."""
    return {name: round(seconds[name], 1) for name in sorted(seconds, key=seconds.__getitem__, reverse=True)[:10]}


def report(seen: Seen, workers: list[dict[str, Any]], left: int) -> dict[str, Any]:
    """One flat record; seconds since the first message, and pods."""
    ups = [(at, to) for (_, before), (at, to) in zip(seen.asked, seen.asked[1:], strict=False) if to > before]
    most = next((at for at, to in ups if to == MOST), None)
    highest = max((place for place, (_, to) in enumerate(seen.asked) if to == max(n for _, n in seen.asked)), default=0)
    down = next((at for at, _ in seen.asked[highest + 1 :]), None)
    asked_at = [0.0] + [at for (_, before), (at, to) in zip(seen.asked, seen.asked[1:], strict=False) for _ in range(before, to)]
    order = sorted(kept["ready"] for kept in seen.pods.values() if "ready" in kept)
    first = sorted(worker["first"] - seen.began for worker in workers if worker["first"])
    completed = sum(worker["settled"] for worker in workers)
    waits: dict[int, int] = {}
    for worker in workers:
        for tenth, jobs in worker["waits"].items():
            waits[int(tenth)] = waits.get(int(tenth), 0) + jobs
    end = (seen.drained or LIMIT) + AFTER
    early = [(at, busy) for at, busy in seen.cpu if 0 <= at <= (seen.drained or 20.0)]
    return {
        "first_ask": ups[0][0] if ups else None,
        "asked_for_all": most,
        "drained": None if seen.drained is None else round(seen.drained, 1),
        "mean_wait": round(sum(worker["wait_sum"] for worker in workers) / max(1, completed), 2),
        "wait_p50": quantile(waits, 0.5),
        "wait_p99": quantile(waits, 0.99),
        "scale_in": down,
        "pod_seconds": round(pod_seconds(seen, end)),
        "returned": sum(worker["redelivered"] for worker in workers),
        "handed_back": sum(worker["handed_back"] for worker in workers),
        "lost": seen.published - completed,
        "left_in_queue": left,
        "published": seen.published,
        "completed": completed,
        "asked": seen.asked,
        "burst_seconds": round(seen.burst_seconds, 1),
        "backlog_most": max(row[1] for row in seen.rows),
        "backlog_most_after": max((row[1] for row in seen.rows if row[0] > (seen.drained or LIMIT)), default=0),
        "asked_to_ready": _spread([at - asked for asked, at in zip(asked_at[1:], order[1:], strict=False)]),
        "asked_to_first_job": _spread([at - asked for asked, at in zip(asked_at[1:], first[1:], strict=False)]),
        "pods": len(seen.pods),
        "pods_heard": len(workers),
        "workers_cpu": round(sum(worker["cpu"] for worker in workers), 1),
        "cpu_until_drained": _most({name: at - seen.spent[0].get(name, 0.0) for name, at in seen.spent[-1].items()}),
        "machine_busy_until_drained": round((early[-1][1] - early[0][1]) / (early[-1][0] - early[0][0]), 2)
        if len(early) > 1
        else None,
        "cores": os.cpu_count(),
    }


def compared(found: dict[str, Any]) -> Iterator[str]:
    for name, theirs in KEDA.items():
        if ours := found[name]:
            yield f"{name}: {ours:g}, KEDA + HPA {theirs:g}: {theirs / ours:.1f} times better"
    for name, goal in GOALS.items():
        met = found[name] is not None and found[name] <= goal
        yield f"goal {name} <= {goal:g}: {'met' if met else 'MISSED'} ({found[name]})"


# ------------------------------------------------------------------------------------------------------------- the run


async def run(namespace: Namespace, url: str, outcomes: str, folder: Path) -> dict[str, Any]:
    port, seen = free_port(), Seen()
    broker = choose.broker(Settings(broker=url, connect_timeout=30), project.catalogue().topology())
    await broker.open()
    connection = await aiormq.connect(url)
    await (await connection.channel()).queue_declare(RESULTS)
    await connection.close()
    await asyncio.to_thread(_deployment, namespace, url, outcomes)
    policy = {"min_replicas": 1, "max_replicas": MOST, "concurrency": CONCURRENCY, "service_seconds": SERVICE}
    environment = {
        "HEADRACE_BROKER": url,
        "HEADRACE_OUTCOMES": f"sqlite:///{folder}/journal.db",
        "HEADRACE_ACTUATOR": "kubernetes",
        "HEADRACE_NAMESPACE": namespace.name,
        "HEADRACE_CONTROLLER_PORT": str(port),
        "HEADRACE_WORKLOADS": json.dumps([{"name": WORKLOAD, "queues": [QUEUE], "policy": policy}]),
        "KUBECONFIG": namespace.cluster.kubeconfig,
    }
    api = await connect(namespace.cluster.kubeconfig, namespace.name)
    with program("autoscaler", environment, folder):
        await ready(f"http://127.0.0.1:{port}/readyz")
        await asyncio.sleep(12)  # past the first window, as one that has long been running
        tasks = [asyncio.create_task(one) for one in (publish(broker, seen), watch_asked(api, seen))]
        tasks.append(asyncio.create_task(watch_rest(api, broker, seen)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                await tasks[0]
                while seen.drained is None or seen.now() < seen.drained + AFTER:
                    await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
    await asyncio.to_thread(namespace.kubectl, "scale", f"deployment/{WORKLOAD}", "--replicas=0")
    workers = await results(url, len(seen.pods))
    left = (await broker.depth(QUEUE)).ready
    await broker.close()
    await api.close()
    found = report(seen, workers, left)
    (folder / "curve.csv").write_text(
        "second,backlog,replicas_asked,pods,pods_ready\n" + "".join(",".join(map(str, row)) + "\n" for row in seen.rows)
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shipped", action="store_true", help="run the shipped consumer in the pods, not its stand-in")
    parser.add_argument("--out", type=Path, help="a folder for the curve and the controller's log")
    given = parser.parse_args()
    with running() as cluster, tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        os.environ["HEADRACE_APP"] = APP
        _image(cluster, shipped=given.shipped)
        node = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"][0]["status"]["addresses"]
        address = next(one["address"] for one in node if one["type"] == "InternalIP")
        rabbit, namespace = RabbitMQServer(folder / "rabbitmq", address=address), Namespace(cluster)
        options = ("--bind", "127.0.0.1", address, "--protected-mode", "no", "--save", "")
        store = RedisServer(folder / "redis", *options) if given.shipped else None
        try:
            rabbit.start()
            if store is not None:
                store.start()
            outcomes = f"redis://{address}:{store.port}/0" if store is not None else ""
            found = uvloop.run(run(namespace, rabbit.vhost(), outcomes, folder))
        finally:
            namespace.end()
            rabbit.end()
            if store is not None:
                store.kill()
            if given.out:
                given.out.mkdir(parents=True, exist_ok=True)
                for path in (*folder.glob("*.log"), *folder.glob("*.csv"), *folder.glob("*.db*")):
                    shutil.copy(path, given.out)
    print(json.dumps(found))
    for line in compared(found):
        print(line)


if __name__ == "__main__":
    main()
