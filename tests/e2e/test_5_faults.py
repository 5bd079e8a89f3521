"""Parts are killed while work goes on."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.release import SCRIPTS, Release, until

RATE = 40


def _kill(release: Release, pod: dict[str, Any]) -> None:
    """Its processes, at once; where they cannot be reached, the pod by force, which still sends SIGTERM first."""
    if not release.cluster.kill(pod):
        release.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0", "--wait=false", check=False)


def _all_done(release: Release, run: str, told: dict[str, object], jobs: int) -> None:
    print(run, told["answers"])
    assert told["accepted"] == jobs, told
    seen = until(lambda: release.effects(run), lambda seen: seen["effects"] >= jobs, 120, "all effects")
    print(run, seen)
    assert seen["effects"] == seen["jobs"] == jobs, "none lost, none of another job"


def test_pods_killed_at_random_for_a_minute(release: Release) -> None:
    """Gateways, consumers, and the controller that leads."""
    chance, seconds = random.Random(7), 60
    with ThreadPoolExecutor(1) as background:
        load = background.submit(release.submit, "load.quick", "killed", RATE * seconds, rate=RATE, seconds=0.1, patience=90)
        end = time.monotonic() + seconds
        killed: list[str] = []
        while time.monotonic() < end:
            component = ("gateway", "consumer", "controller")[len(killed) % 3]
            pods = release.pods(component, "quick" if component == "consumer" else "")
            if component == "controller":
                pods = [pod for pod in pods if pod["metadata"]["name"] == release.leader()] or pods
            if pods:
                victim = chance.choice(pods)
                killed.append(victim["metadata"]["name"])
                _kill(release, victim)
            time.sleep(chance.uniform(3, 6))
        told = load.result()
    print(killed)
    assert len(killed) >= 9
    _all_done(release, "killed", told, RATE * seconds)


def test_the_second_controller_takes_over(release: Release) -> None:
    leader = until(release.leader, bool, 30, "a leader")
    began = time.monotonic()
    _kill(release, next(pod for pod in release.pods("controller") if pod["metadata"]["name"] == leader))
    until(release.leader, lambda name: name not in ("", leader), 60, "another leader")
    print(f"took over after {time.monotonic() - began:.1f} s")


def test_broker_and_store_killed(release: Release) -> None:
    """Their volumes are what is accepted; a publish without a confirm is repeated by the client, with the same key."""
    seconds = 40
    with ThreadPoolExecutor(1) as background:
        load = background.submit(release.submit, "load.quick", "parts", RATE * seconds, rate=RATE, seconds=0.1, patience=120)
        time.sleep(6)
        _kill(release, release.pods("rabbitmq")[0])
        time.sleep(14)
        _kill(release, release.pods("redis")[0])
        told = load.result()
    _all_done(release, "parts", told, RATE * seconds)
    until(lambda: [_is_ready(pod) for pod in release.pods("gateway")], all, 60, "gateways are ready again")


def test_the_api_server_stopped_for_a_minute(release: Release) -> None:
    """Jobs do not need it. The controller holds; it scales afterwards."""
    seconds, jobs = 60, 3000
    until(release.leader, bool, 30, "a leader")
    release.submit("load.quick", "before", 1)
    # A connection of kubectl ends with the API server; a command that was begun in the pod goes on.
    command = (
        f"cat > /tmp/submit.py; python /tmp/submit.py {release.url} load.quick dark 0 {jobs} 50 0.5 120 > /tmp/dark.json 2>&1 &"
    )
    program = (SCRIPTS / "submit.py").read_text(encoding="utf-8")
    release.client("sh", "-c", command, given=program)
    time.sleep(2)
    release.cluster.component("stop", "kube-apiserver", "KILL")
    try:
        time.sleep(seconds)
    finally:
        release.cluster.component("start", "kube-apiserver")
    until(lambda: release.client("cat", "/tmp/dark.json"), lambda said: "accepted" in said, 90, "the client's end")  # noqa: S108 - in the client pod
    release.each_once("dark", jobs, 120)
    until(release.leader, bool, 120, "a leader again")
    # More than a minute of work for one pod: 1,500 were done before a slow machine's controller had its view again.
    told = release.submit("load.quick", "after", 5000, seconds=0.4)
    until(lambda: release.replicas("quick"), lambda n: n > 1, 60, "it scales again")
    _all_done(release, "after", told, 5000)


def _is_ready(pod: dict[str, object]) -> bool:
    status = pod["status"]
    assert isinstance(status, dict)
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
