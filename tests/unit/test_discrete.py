"""The engine that follows every job, and what our policy makes of long ones on it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from autoscaler.model import Observation, Policy
from simulator.discrete import Followed, Job, follow
from simulator.fixed import Fixed
from simulator.ours import Ours
from simulator.world import World

SECONDS = [0.1, 10.0, 600.0, 7200.0]


class Plan:
    """Asks for a given number of replicas from given times on. seen: by time."""

    name, interval = "plan", 1.0

    def __init__(self, plan: dict[float, int]) -> None:
        self._plan = plan
        self.seen: dict[float, Observation] = {}

    def ask(self, seen: Observation, now: float) -> int:
        self.seen[now] = seen
        return self._plan[max(at for at in self._plan if at <= now)]


def world(seconds: float, *, initial: int = 1) -> World:
    return World(concurrency=4, service_seconds=seconds, initial=initial, max_replicas=20)


def ours(world: World) -> Ours:
    return Ours(Policy(max_replicas=world.max_replicas, concurrency=world.concurrency))


def steady(seconds: float, busy: float, until: float, seed: int = 3) -> list[Job]:  # one job type for each length
    """Jobs of `seconds`, at random times, that keep `busy` slots busy on the average."""
    rng, now, jobs = Random(seed), 0.0, []
    while (now := now + rng.expovariate(busy / seconds)) < until:
        jobs.append(Job(now, seconds, f"{seconds:g} s"))
    return jobs


def work(jobs: Sequence[Job], world: World) -> float:
    """Pod-seconds of replicas that are always full: the least that any policy needs."""
    return sum(job.takes for job in jobs) / world.concurrency


def once(run: Followed) -> bool:
    return run.handed_back == 0 and all(len(job.begun) == 1 and job.ended is not None for job in run.jobs)


# The engine.


def test_a_replica_runs_what_it_can_and_takes_the_rest_ahead() -> None:
    plan = Plan({0.0: 1})
    run = follow(world(10.0), [Job(0.5, 10.0) for _ in range(12)], plan)
    assert [job.begun for job in run.jobs] == [[0.5]] * 4 + [[10.5]] * 4 + [[20.5]] * 4
    assert (run.ended, run.pod_seconds, run.most, run.actions) == (30.5, 30.5, 1, 0)
    first, last = plan.seen[1.0], plan.seen[30.0]
    assert [getattr(first, name).value for name in ("ready_jobs", "unacked", "in_flight", "completed")] == [4, 8, 4, 0]
    assert [getattr(last, name).value for name in ("ready_jobs", "unacked", "in_flight", "completed")] == [0, 4, 4, 8]
    assert last.busy_seconds.value == pytest.approx(8 * 10 + 4 * 9.5)
    assert last.wait_mean.value == pytest.approx(5.0)


def test_jobs_go_to_each_replica_in_turn() -> None:
    run = follow(world(10.0, initial=4), [Job(0.0, 10.0) for _ in range(16)], Fixed(4))
    assert run.ended == 10.0


def test_what_a_replica_that_goes_does_not_finish_begins_again_elsewhere() -> None:
    run = follow(world(60.0, initial=2), [Job(0.0, 60.0), Job(0.0, 60.0)], Plan({0.0: 2, 10.0: 1}), takeable=False)
    assert run.handed_back == 1
    assert sorted(job.begun for job in run.jobs) == [[0.0], [0.0, 35.0]]
    assert run.ended == 95.0
    assert run.pod_seconds == 2 * 35.0 + 60.0


def test_the_one_goes_whose_runs_end_first_and_what_has_not_begun_is_handed_back_at_once() -> None:
    jobs = [Job(0.0, 100.0), Job(0.1, 100.0), Job(0.2, 100.0)]
    run = follow(World(concurrency=1, initial=2, max_replicas=2), jobs, Plan({0.0: 2, 90.0: 1}), prefetch=2)
    assert once(run)
    assert jobs[2].begun == [100.1]


def test_a_replica_starts_in_its_time_and_one_that_has_not_goes_first() -> None:
    start = World(concurrency=1, startup=(5.0, 5.0), initial=1, max_replicas=3)
    run = follow(start, [Job(0.0, 60.0), Job(0.0, 3.0)], Plan({0.0: 2, 2.0: 1, 3.0: 2}), prefetch=1)
    assert run.jobs[1].begun == [8.0]
    assert once(run)


# Jobs that were taken ahead.


def behind_a_long_one(*, replicas: int, longs: int, takeable: bool = True) -> Followed:
    """Replicas of one slot, each of which holds ten jobs: long ones first, then 30 short ones."""
    place = World(concurrency=1, initial=replicas, max_replicas=replicas)
    jobs = [*(Job(0.0, 600.0, "long") for _ in range(longs)), *(Job(0.1, 0.1, "short") for _ in range(30))]
    return follow(place, jobs, Plan({0.0: replicas}), prefetch=10, takeable=takeable)


def test_short_jobs_that_wait_behind_a_long_one_begin_in_a_free_replica_within_seconds() -> None:
    told, untold = (behind_a_long_one(replicas=4, longs=1, takeable=told) for told in (True, False))
    assert max(job.begun[0] for job in untold.jobs) > 600.0, "what it is for"
    assert max(job.begun[0] for job in told.jobs) < 5.0
    assert once(told)
    assert {job.moved for job in told.jobs} == {0, 1}, "each goes back once at most"
    assert told.jobs[0].moved == 0, "what runs stays"


def test_where_no_replica_has_a_free_slot_what_waits_stays() -> None:
    full = behind_a_long_one(replicas=2, longs=2)
    assert [job.moved for job in full.jobs] == [0] * 32
    assert once(full)


@pytest.mark.parametrize("seed", range(3))
def test_work_that_varies_waits_behind_nothing_for_long_and_goes_back_seldom(seed: int) -> None:
    """Ten replicas of four slots, of which some 12 run jobs of five minutes; one in a thousand jobs is such a one."""
    of = World(concurrency=4, initial=10, max_replicas=10)
    jobs = [*steady(0.1, 4.0, 1200.0, seed), *steady(300.0, 12.0, 1200.0, seed + 50)]
    run = follow(of, sorted(jobs, key=lambda job: job.at), Plan({0.0: 10}), prefetch=8, seed=seed)
    assert once(run)
    assert max(job.begun[0] - job.at for job in run.jobs) < 5.0
    assert sum(job.moved for job in run.jobs) <= len(run.jobs) / 200
    assert max(job.moved for job in run.jobs) <= 2


def test_what_waits_counts_once_wherever_it_does() -> None:
    plan = Plan({0.0: 4})
    place = World(concurrency=1, initial=4, max_replicas=4)
    jobs = [Job(0.0, 600.0, "long"), *(Job(0.1, 5.0, "short") for _ in range(30))]
    follow(place, jobs, plan, prefetch=10)
    for at, seen in plan.seen.items():
        there = sum(job.at <= at and (job.ended is None or job.ended > at) for job in jobs)
        assert (seen.ready_jobs.value + seen.unacked.value) == there
    assert any(job.moved for job in jobs)


# Ours, on jobs of every length.


@pytest.mark.parametrize("seconds", SECONDS[1:])
def test_a_batch_is_done_at_once_and_each_job_is_begun_once(seconds: float) -> None:
    """Makespan at most 1.2 times that of all replicas from the first moment on, with the start of one: the goal."""
    of = world(seconds)
    run = follow(of, [Job(10.0, seconds) for _ in range(160)], ours(of), prefetch=4)
    assert once(run)
    assert run.ended - 10.0 <= 1.2 * 2 * seconds + of.startup[1]
    assert run.pod_seconds <= 1.3 * work(run.jobs, of) + 20 * of.startup[1]


@pytest.mark.parametrize("seconds", SECONDS)
def test_steady_work_waits_for_nothing_and_no_job_is_begun_twice(seconds: float) -> None:
    of = world(seconds)
    run = follow(of, steady(seconds, 40.0, max(300.0, 2 * seconds)), ours(of), prefetch=4)
    assert once(run)
    assert max(job.begun[0] - job.at for job in run.jobs) <= max(5.0, seconds)
    assert run.pod_seconds <= 1.6 * work(run.jobs, of)


@pytest.mark.parametrize("told", [True, False], ids=["told", "guessed"])
def test_jobs_of_all_lengths_together_begin_once(told: bool) -> None:
    """Where consumers do not tell how long their runs last, that is guessed from jobs before: then some may be broken off."""
    of = world(1.0)
    jobs = [*steady(0.1, 2.0, 3600.0), *steady(10.0, 10.0, 3600.0, 4), *steady(600.0, 30.0, 3600.0, 5), Job(600.0, 7200.0, "hours")]
    run = follow(of, sorted(jobs, key=lambda job: job.at), ours(of), prefetch=4, takeable=told)
    assert once(run) or not told
    assert all(job.ended is not None for job in run.jobs)


@pytest.mark.parametrize(
    ("name", "most"),
    [("steady short", 30.0), ("steady long", 30.0), ("rare long", 30.0), ("spiky", 960.0)],
)
def test_scalings_an_hour_are_bounded(name: str, most: float) -> None:
    """Between spikes, one every half minute, replicas go by halves: eight changes a spike. To hold them would cost more."""
    of = world(1.0)
    jobs = {
        "steady short": steady(0.1, 8.0, 900.0),
        "steady long": steady(7200.0, 40.0, 10_800.0),
        "rare long": [*steady(0.1, 8.0, 1800.0), *(Job(at, 300.0, "rare") for at in range(300, 1800, 600))],
        "spiky": [Job(at, 0.5) for at in range(30, 1800, 30) for _ in range(300)],
    }[name]
    run = follow(of, sorted(jobs, key=lambda job: job.at), ours(of))
    assert once(run)
    assert run.actions / run.ended * 3600.0 <= most
