"""Values that the controller's settings refuse: the error names the field, the value and the allowed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from structlog.testing import capture_logs

from autoscaler.app import ControllerApp
from autoscaler.model import Policy
from autoscaler.schedule import Floor
from autoscaler.settings import ControllerSettings, WorkloadSettings, policy_of
from autoscaler.workloads import workloads_of
from core.catalogue import Catalogue
from core.errors import SettingsError
from core.model import Contract
from tests.unit.controlled import sample


class Empty(BaseModel):
    pass


CATALOGUE = Catalogue([Contract(name="a.happened", payload=Empty, queues=("one", "two"))])


def test_a_policy_is_its_defaults_and_what_is_given() -> None:
    given = {
        "min_replicas": 2,
        "drain_target": 7,
        "floors": [{"cron": "* 8-17 * * mon-fri", "replicas": 5, "zone": "Europe/Berlin"}],
    }
    floors = (Floor("* 8-17 * * mon-fri", 5, "Europe/Berlin"),)
    assert policy_of(given) == Policy(min_replicas=2, drain_target=7, floors=floors)
    assert policy_of({}) == Policy()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_replicas": 5, "max_replicas": 2}, "min_replicas=5 is above max_replicas=2"),
        ({"min_replicas": -1}, "min_replicas=-1"),
        ({"min_replicas": "2"}, "min_replicas='2' must be a whole number"),
        ({"min_replicas": 1.5}, "min_replicas=1.5 must be a whole number"),
        ({"max_replicas": None}, "max_replicas=None"),
        ({"max_replicas": True}, "max_replicas=True"),
        ({"max_replicas": 0}, "max_replicas=0"),
        ({"max_replicas": 10**9}, "max_replicas=1000000000"),
        ({"drain_target": float("nan")}, "drain_target=nan must be from 0.1"),
        ({"drain_target": float("inf")}, "drain_target=inf"),
        ({"drain_target": [5]}, r"drain_target=\[5\] must be a number"),
        ({"utilisation": 1.5}, "utilisation=1.5 must be from 0.05 to 1"),
        ({"fallback_replicas": 11}, "fallback_replicas=11"),
        ({"replicas": 3}, "no field 'replicas'.*max_replicas"),
        ({"floors": 7}, "floors=7 must be a list"),
        ({"floors": ["x"]}, "floors: 'x'"),
        ({"floors": [{"cron": "* * * * *"}]}, "floors: .*cron, replicas, zone"),
        ({"floors": [{"cron": "* * * * *", "replicas": "2"}]}, "floors.replicas='2'"),
        ({"floors": [{"cron": "* * * * *", "replicas": 99}]}, "floors.replicas=99"),
        ({"floors": [{"cron": 5, "replicas": 2}]}, "cron='5'"),
        ({"floors": [{"cron": "* * * * *", "replicas": 2, "zone": "Mars"}]}, "zone='Mars'"),
        ({"floors": [{"cron": "* * * * *", "replicas": 2, "color": "red"}]}, "color"),
    ],
)
def test_a_policy_that_cannot_be_names_its_field(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        policy_of(given)


@pytest.mark.parametrize(
    ("workloads", "said"),
    [
        ([("consumer", ["nothing", "never"])], "consumer names queue 'nothing'; the contracts have: one, two"),
        ([("first", ["one"]), ("second", ["two", "one"])], "queue 'one' is in first and in second"),
        ([("same", ["one"]), ("same", ["two"])], "'same' is there more than once"),
    ],
)
def test_workloads_that_cannot_be_name_themselves(workloads: list[tuple[str, list[str]]], said: str) -> None:
    settings = ControllerSettings(workloads=tuple(WorkloadSettings(name=name, queues=tuple(of)) for name, of in workloads))
    with pytest.raises(SettingsError, match=said):
        workloads_of(settings, CATALOGUE)


def test_no_workloads_are_one_with_every_queue() -> None:
    workloads = workloads_of(ControllerSettings(), CATALOGUE)
    assert [(w.name, w.queues) for w in workloads.known.values()] == [("consumer", ("one", "two"))]
    assert workloads.unknown == ()


def test_a_queue_that_no_contract_has_is_left_alone_with_a_warning_and_the_rest_is_scaled() -> None:
    """As where an image has no longer, or not yet, what the chart's values name."""
    given = (
        WorkloadSettings(name="gone", queues=("old",)),
        WorkloadSettings(name="mixed", queues=("older", "two"), policy={"max_replicas": 3}),
        WorkloadSettings(name="first", queues=("one",)),
    )
    workloads = workloads_of(ControllerSettings(workloads=given), CATALOGUE)
    assert {name: of.queues for name, of in workloads.known.items()} == {"mixed": ("two",), "first": ("one",)}
    assert workloads.known["mixed"].policy == {"max_replicas": 3}
    with capture_logs() as logs:
        workloads.warn("one, two")
    assert [(line["log_level"], line["workload"], line["queue"]) for line in logs] == [
        ("warning", "gone", "old"),
        ("warning", "mixed", "older"),
    ]
    assert sample("headrace_scaling_unknown_queue", workload="mixed", queue="older") == 1
    ControllerApp(ControllerSettings(workloads=given), CATALOGUE)  # it starts


@pytest.mark.parametrize(
    ("broker", "url", "used"),
    [
        ("amqp://me:p%40ss@broker:5672/jobs", "http://broker:15672", "http://me:p%40ss@broker:15672"),
        ("amqps://me:word@broker/jobs", "https://other:15671/rabbit", "https://me:word@other:15671/rabbit"),
        ("amqp://me:word@broker", "http://watcher:own@broker:15672", "http://watcher:own@broker:15672"),
        ("amqp://broker", "http://broker:15672", "http://broker:15672"),
        ("amqp://me:word@broker", "", ""),
        ("sqlite:///a.db", "http://broker:15672", "http://broker:15672"),
    ],
)
def test_the_management_api_is_asked_as_the_brokers_user_unless_another_is_named(broker: str, url: str, used: str) -> None:
    settings = ControllerSettings(broker=SecretStr(broker), management_url=SecretStr(url))
    assert settings.management() == used


def test_the_brokers_user_is_read_anew(tmp_path: Path) -> None:
    """A password that rotates in the broker's file holds for the management API from the next request on."""
    file = tmp_path / "url"
    file.write_text("amqp://me:old@broker/jobs")
    settings = ControllerSettings(broker_file=str(file), management_url=SecretStr("http://broker:15672"))
    assert settings.management() == "http://me:old@broker:15672"
    file.write_text("amqp://me:new@broker/jobs")
    assert settings.management() == "http://me:new@broker:15672"


@pytest.mark.parametrize(
    ("interval", "policy", "said"),
    [
        (8.0, {}, "HEADRACE_INTERVAL=8: consumer takes figures that are older than freshness=15 s for unknown; give 7.5 at most"),
        (7.0, {"down_window": 6.5}, "HEADRACE_INTERVAL=7: within down_window=6.5 s consumer would be looked at once"),
    ],
)
def test_an_interval_that_its_policies_cannot_live_with(interval: float, policy: dict[str, Any], said: str) -> None:
    workload = WorkloadSettings(name="consumer", queues=("one", "two"), policy=policy)
    with pytest.raises(SettingsError) as refused:
        ControllerApp(ControllerSettings(interval=interval, workloads=(workload,)), CATALOGUE)
    assert str(refused.value).startswith(said)
    ControllerApp(ControllerSettings(interval=6.0, workloads=(workload,)), CATALOGUE)


@pytest.mark.parametrize("selector", ["", 'namespace="jobs"', ' a="x, \\"y\\"}" , b!~"c|d" ', 'n=~".*",release!="x"'])
def test_a_selector_is_label_matchers(selector: str) -> None:
    assert ControllerSettings(prometheus_selector=selector).prometheus_selector == selector


@pytest.mark.parametrize("selector", ["namespace", "a=b", 'a="x"}) or vector(1', 'a="x",', '{a="x"}', 'a="x" b="y"', 'a="x\\"'])
def test_what_is_no_matcher_is_refused_with_an_example(selector: str) -> None:
    with pytest.raises(ValueError, match=r'label matchers as in PromQL.*namespace="jobs"'):
        ControllerSettings(prometheus_selector=selector)


def test_a_workload_of_jobs_has_a_policy_of_its_own_kind() -> None:
    found = WorkloadSettings(name="job/exports", queues=("one",), policy={"max_replicas": 50})
    assert found.ends_itself
    policy = policy_of(found.policy)
    assert (policy.min_replicas, policy.max_replicas, policy.concurrency, policy.fallback_replicas) == (0, 50, 1, 0)
    assert not WorkloadSettings(name="exports", queues=("one",)).ends_itself


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": {"min_replicas": 1}}, "min_replicas=1 must be 0 for job/exports"),
        ({"policy": {"concurrency": 32}}, "concurrency=32 must be 1 for job/exports"),
        ({"policy": {"fallback_replicas": 1}}, "fallback_replicas=1 must be 0"),
        ({"policy": {"floors": [{"cron": "* * * * *", "replicas": 1}]}}, "floors: of job/exports none waits"),
        ({"queues": ("one", "two")}, "job/exports: a workload of jobs has one queue, and this has 2"),
        ({"policy": 7}, "policy"),
    ],
)
def test_what_jobs_cannot_have_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WorkloadSettings(**{"name": "job/exports", "queues": ("one",)} | given)
