"""The kept parts of Kubernetes' objects, and a watch through the answers that a server may give; no server is needed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from autoscaler.actuators.kubernetes.api import ApiFailure, Resource
from autoscaler.actuators.kubernetes.objects import Pod, Reference, costs, pause, pod, replica, selector, target, unschedulable
from autoscaler.actuators.kubernetes.watch import Watch
from autoscaler.model import Pause
from core.errors import SettingsError

Json = dict[str, Any]
THINGS = Resource("", "v1", "things")


class LoopClock:
    def wall(self) -> float:
        return 1_750_000_000.0

    def steady(self) -> float:
        return asyncio.get_running_loop().time()


class Script:
    """A stand-in for the Api of `Watch`: each list and each watch plays the next of its parts; the last is played for ever."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self._lists, self._watches = lists, watches
        self.asked: list[str] = []

    async def call(self, verb: str, of: Resource, *, query: Mapping[str, str], timeout: float) -> Json:
        self.asked.append(verb)
        part = self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]
        if isinstance(part, Exception):
            raise part
        answer: Json = part
        return answer

    async def watch(self, of: Resource, query: Mapping[str, str], seconds: int) -> AsyncIterator[Json]:
        self.asked.append(f"watch {query['resourceVersion']}")
        for part in self._watches.pop(0) if len(self._watches) > 1 else self._watches[0]:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                yield part


def _item(name: str, version: int) -> Json:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def _list(version: int, *names: str) -> Json:
    return {"metadata": {"resourceVersion": str(version)}, "items": [_item(name, version) for name in names]}


def _event(kind: str, name: str, version: int) -> Json:
    return {"type": kind, "object": _item(name, version)}


async def _played(script: Script, seconds: float) -> Watch[str]:
    watch: Watch[str] = Watch(script, THINGS, {}, lambda item: item["metadata"]["resourceVersion"], LoopClock())  # type: ignore[arg-type]  # what is used of it
    task = asyncio.ensure_future(watch.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait({task})
    return watch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(3)


@pytest.mark.looptime
async def test_a_watch_goes_on_from_the_last_version_bookmarks_included() -> None:
    first = [_event("ADDED", "b", 5), _event("DELETED", "a", 6), 8.0, _event("BOOKMARK", "", 9), 2.0]
    script = Script([_list(3, "a")], [first, [3600.0]])
    watch = await _played(script, 11.0)
    assert script.asked == ["list", "watch 3", "watch 9"]
    assert watch.objects == {"b": "5"}
    assert watch.at == pytest.approx(10.0), "an end in time is the last word of the connection"


@pytest.mark.looptime
async def test_a_version_that_is_too_old_is_followed_by_a_list() -> None:
    script = Script([_list(3, "a"), _list(70, "b")], [[2.0], [ApiFailure(410, "too old")], [3600.0]])
    watch = await _played(script, 4.0)
    assert script.asked == ["list", "watch 3", "watch 3", "list", "watch 70"]
    assert watch.objects == {"b": "70"}


@pytest.mark.looptime
async def test_an_answer_that_is_none_is_followed_by_a_list() -> None:
    script = Script([{"items": 7}, _list(3, "a"), _list(8, "c")], [[{"type": "ADDED", "object": {}}], [3600.0]])
    watch = await _played(script, 4.0)
    assert script.asked == ["list", "list", "watch 3", "list", "watch 8"]
    assert watch.objects == {"c": "8"}


@pytest.mark.looptime
async def test_a_server_that_is_away_is_asked_ever_less_and_the_view_grows_old() -> None:
    script = Script([_list(3, "a")], [[1.5, _event("ADDED", "b", 4)], [ApiFailure(0, "no answer")]])
    watch = await _played(script, 120.0)
    assert watch.at == pytest.approx(1.5)
    assert watch.down == "no answer"
    assert watch.objects == {"a": "3", "b": "4"}
    assert 120 / 5 < len(script.asked) < 120 / 1.5, "full jitter up to 5 s"


@pytest.mark.looptime
async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop() -> None:
    script = Script([_list(3, "a")], [[]])
    await _played(script, 60.0)
    assert len(script.asked) < 60


def test_names_of_workloads() -> None:
    assert str(Reference.of("email")) == "deployment/email"
    assert str(Reference.of("StatefulSet/store")) == "statefulset/store"
    assert str(Reference.of("job/exports").resource) == "cronjobs.batch"
    for wrong in ("", "deployment/", "pod/x", "a/b/c"):
        with pytest.raises(SettingsError):
            Reference.of(wrong)


def test_selectors_are_written_as_queries() -> None:
    rules = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "new", "operator": "Exists"},
    ]
    assert selector({"matchLabels": {"y": "2", "x": "1"}, "matchExpressions": rules}) == "x=1,y=2,tier in (a,b),!old,new"


@pytest.mark.parametrize(
    ("text", "meant"), [("", Pause.NONE), ("none", Pause.NONE), (" IN ", Pause.IN), ("out", Pause.OUT), ("al", Pause.ALL)]
)
def test_a_pause_that_nobody_can_read_forbids_everything(text: str, meant: Pause) -> None:
    assert pause({"headrace/pause": text}) is meant


def _pod(name: str, cost: int = 0) -> Pod:
    return Pod(name, ready=True, leaving=False, ip="10.0.0.1", port=0, cost=cost, unschedulable="")


def test_candidates_cost_less_than_all_others_the_idlest_least() -> None:
    assert costs([_pod("idle"), _pod("calm")], [_pod("busy"), _pod("paid", 100)]) == {"idle": -2, "calm": -1}
    assert costs([_pod("idle", -9), _pod("calm")], [_pod("busy", -5)]) == {"idle": -7, "calm": -6}
    assert costs([_pod("idle")], [_pod("busy", -(2**31))]) == {"idle": -(2**31)}


def test_a_pod() -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    item: Json = {"metadata": {"name": "p"}, "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": conditions}}
    kept = pod(item)
    assert kept is not None
    assert replica(kept, 0).metrics == ""
    assert replica(kept, 9100).metrics == "http://10.0.0.7:9100/metrics"
    item["metadata"] |= {"deletionTimestamp": "now", "annotations": {"headrace/metrics-port": "91x", "other": ""}}
    leaving = pod(item)
    assert leaving is not None
    assert not leaving.ready
    assert leaving.port == 0
    assert pod({"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}) is None
    waiting = pod({"metadata": {"name": "p"}})
    assert waiting is not None
    assert replica(waiting, 9100).metrics == ""
    item["status"]["podIP"] = "fd00::7"
    six = pod(item)
    assert six is not None
    assert replica(six, 9100).metrics == "http://[fd00::7]:9100/metrics"


def test_why_pods_do_not_start() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    one = pod({"metadata": {"name": "p"}, "status": {"conditions": [condition]}})
    assert one is not None
    assert unschedulable("", [one, _pod("q")]) == "1 pods find no node: 0/1 nodes"
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}}
    kept = target({"metadata": {"uid": "u", "resourceVersion": "1"}, "spec": spec, "status": {"conditions": [failure]}})
    assert kept.asked == 0
    assert unschedulable(kept.failure, [one]) == "exceeded quota"
