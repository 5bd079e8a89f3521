"""Each install and upgrade reports settings that do not fit: its Job gets the release's drains, and Helm prints the Job's log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cli.advice import of_this_release
from core.settings import PREFIX
from tests.deploy.files import variables
from tests.deploy.release import Release, Workload
from tests.deploy.render import notes

pytestmark = pytest.mark.needs("helm")

OFF: dict[str, Any] = {"registration": {"enabled": False}, "payouts": {"enabled": False}}


def test_a_time_limit_beyond_the_drain_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """user.registered may run for 20 s, in two queues; order.settled has a Job of its own, which no rollout ends."""
    jobs = {"mode": "job", "drainSeconds": 1}
    values = {"consumers": {"registration": {"drainSeconds": 19}, "payouts": jobs}}
    found = _said(Release.of(values), monkeypatch, tmp_path)
    assert [line.partition(" may run for ")[0] for line in found] == [
        f"queue {name}: user.registered" for name in ("email", "points")
    ]
    assert all("the drain of headrace-consumer-registration is 19 s" in line for line in found)
    assert all("drainSeconds" in line and "mode: job" in line for line in found)


def test_what_fits_is_no_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _said(Release.of({}), monkeypatch, tmp_path) == []


def test_queues_of_another_release_are_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only = {"payouts": {"enabled": False}, "registration": {"queues": ["email", "gone"]}}
    (found,) = _said(Release.of({"consumerDefaults": {"drainSeconds": 20}, "consumers": only}), monkeypatch, tmp_path)
    assert "'gone', which no contract has" in found


def test_helm_prints_what_it_says_and_a_release_without_consumers_asks_nothing() -> None:
    job = _job(Release.of({}))
    assert job.one["metadata"]["annotations"]["helm.sh/hook-output-log-policy"] == "hook-succeeded,hook-failed"
    assert job.main[0]["command"] == ["headrace", "bindings", "--prune", "--advise"]
    alone = _job(Release.of({"consumers": OFF, "controller": {"enabled": False}}))
    assert alone.main[0]["command"] == ["headrace", "bindings", "--prune"]
    assert "HEADRACE_WORKLOADS" not in {one["name"] for one in alone.main[0]["env"]}


@pytest.mark.parametrize("enabled", [True, False])
def test_the_notes_name_the_command_where_helm_prints_no_log(enabled: bool) -> None:
    """Of the programs the controller alone knows the drain of each entry."""
    text = notes({"controller": {"enabled": enabled}})
    assert ("exec deployment/headrace-controller -- headrace check" in text) is enabled


def _job(release: Release) -> Workload:
    (found,) = (one for one in release.workloads if one.component == "bindings")
    return found


def _said(release: Release, patch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """With the Job's own variables, but for the files of its credentials."""
    patch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        patch.delenv(name)
    for name, value in variables(release, _job(release).main[0]).items():
        if name.startswith(PREFIX) and not name.endswith("_FILE"):
            patch.setenv(name, value)
    return of_this_release()
