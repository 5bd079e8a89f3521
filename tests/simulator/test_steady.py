"""Steady work, which comes at random, beside the best fleet of a size that stays: what it costs, and how often it is scaled."""

from __future__ import annotations

import pytest

from simulator.discrete import Followed, Job, follow
from simulator.fixed import Fixed
from simulator.scaler import Scaler
from tests.unit.test_discrete import once, ours, steady, world

BUSY = 16.0  # slots, of 4 a replica: what runs at a time varies by a quarter
LENGTHS = {0.1: 900.0, 10.0: 3600.0, 600.0: 36_000.0, 7200.0: 144_000.0}  # seconds a job: seconds of arrivals


def run(seconds: float, scaler: Scaler) -> Followed:
    """Consumers take nothing ahead: their default where jobs may be long."""
    jobs = [Job(job.at, job.takes, job.kind) for job in steady(seconds, BUSY, LENGTHS[seconds])]
    return follow(world(seconds), jobs, scaler, prefetch=4)


def longest_wait(ran: Followed) -> float:
    return max(job.begun[0] - job.at for job in ran.jobs)


def best_fleet(seconds: float) -> Followed:
    """The smallest in which no job waits for longer than it takes, or than the default drain target, 5 s.

    It knows the load beforehand, and is there in the first second.
    """
    fleets = (run(seconds, Fixed(size, interval=60.0)) for size in range(1, 21))
    return next(ran for ran in fleets if longest_wait(ran) <= max(seconds, 5.0))


@pytest.mark.parametrize("seconds", LENGTHS)
def test_steady_work_costs_little_more_than_the_best_fleet_and_is_seldom_scaled(seconds: float) -> None:
    """The goals: 1.3 times its pod-seconds, 30 changes an hour, no run begun twice."""
    ran, best = run(seconds, ours(world(seconds))), best_fleet(seconds)
    assert once(ran)
    assert ran.pod_seconds <= 1.3 * best.pod_seconds
    assert ran.actions / ran.ended * 3600.0 <= 30.0
    assert longest_wait(ran) <= max(2.0 * seconds, 10.0)


def test_short_jobs_do_not_wait_as_if_they_were_long() -> None:
    """Nine in ten take 10 s, the others minutes: half of their mean is 30 s, which is nothing that the short ones may wait for."""
    jobs = sorted([*steady(10.0, 8.0, 3600.0), *steady(600.0, 8.0, 3600.0, 5)], key=lambda job: job.at)
    ran = follow(world(70.0), jobs, ours(world(70.0)), prefetch=4)
    assert once(ran)
    waits = sorted(job.begun[0] - job.at for job in ran.jobs if job.takes == 10.0)
    assert waits[int(0.95 * len(waits))] <= 5.0
