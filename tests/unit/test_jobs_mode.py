"""Replicas that take one job each and end with it, on the engine that follows every job."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from autoscaler.model import Decision, Observation
from autoscaler.settings import WorkloadSettings, policy_of
from autoscaler.state import State
from simulator.discrete import Followed, Job, follow
from simulator.jobs import OnePerJob
from simulator.ours import Ours
from simulator.world import World
from tests.unit.test_discrete import once, steady

HOURS = 7200.0
POLICY = policy_of(WorkloadSettings(name="job/exports", queues=("exports",), policy={"max_replicas": 50}).policy)


class Watched(Ours):
    """Ours, and all that it decided. fewer: decisions to have fewer than are asked for."""

    def __init__(self) -> None:
        super().__init__(POLICY)
        self.decided: list[Decision] = []
        self.fewer = 0

    @property
    def state(self) -> State:
        assert self._state is not None
        return self._state

    def ask(self, seen: Observation, now: float) -> int:
        asked = super().ask(seen, now)
        assert self.last is not None
        self.decided.append(self.last)
        self.fewer += asked < seen.asked
        return asked


def run(jobs: Sequence[Job], startup: tuple[float, float] = (5.0, 12.0)) -> tuple[Followed, Watched]:
    of, scaler = World(concurrency=1, startup=startup, initial=0, max_replicas=50), Watched()
    return follow(of, sorted(jobs, key=lambda job: job.at), scaler, kind=OnePerJob), scaler


def check(found: Followed, scaler: Watched) -> None:
    """Each begun once, none taken away, nothing learned of starts, no alert."""
    assert once(found)
    assert scaler.fewer == 0
    assert scaler.state.startup.seconds == 0.0
    assert {alert.kind for decision in scaler.decided for alert in decision.alerts} == set()


def test_a_batch_has_a_replica_for_each_job() -> None:
    found, scaler = run([Job(10.0, HOURS) for _ in range(20)])
    check(found, scaler)
    assert (found.made, found.most) == (20, 20)
    assert found.ended <= 10.0 + HOURS + 15.0
    assert found.pod_seconds <= 20 * (HOURS + 15.0)


def test_the_reason_names_no_drain_and_no_speed() -> None:
    _, scaler = run([Job(10.0, HOURS) for _ in range(3)])
    texts = [decision.text for decision in scaler.decided]
    assert all("(one for each delivery; " in text for text in texts)
    assert not any("drain in" in text or "jobs/s" in text for text in texts)
    assert any(": 0 → 3 (one for each delivery; wake)" in text for text in texts), texts[:20]


def test_steady_work_has_about_as_many_replicas_as_jobs_and_none_waits_for_long() -> None:
    jobs = steady(HOURS, 10.0, 2 * HOURS)
    found, scaler = run(jobs)
    check(found, scaler)
    assert len(jobs) >= 15
    assert len(jobs) <= found.made <= len(jobs) + 2
    assert max(job.begun[0] - job.at for job in jobs) <= 20.0


def test_a_batch_above_the_maximum_goes_on_as_soon_as_one_ends() -> None:
    found, scaler = run([Job(10.0, 600.0) for _ in range(150)])
    assert once(found)
    assert (found.made, found.most) == (150, 50)
    assert found.ended <= 3 * 600.0 + 3 * 20.0
    assert scaler.fewer == 0
    assert {alert.kind for decision in scaler.decided for alert in decision.alerts} <= {"at-max"}


@pytest.mark.parametrize(("seconds", "busy"), [(1.0, 1.0), (30.0, 12.0), (300.0, 20.0)])
def test_where_replicas_end_and_start_all_the_time_none_is_lost_or_missing(seconds: float, busy: float) -> None:
    """Shorter jobs than this is for: each still has a replica of its own."""
    jobs = steady(seconds, busy, max(600.0, 10 * seconds))
    found, scaler = run(jobs)
    check(found, scaler)
    assert found.made <= 1.1 * len(jobs) + 2
