"""Both engines against each other on short jobs, the scores of the one that follows each job, and the sizes that it draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.policies import POLICIES, build
from core.errors import SettingsError
from simulator.buckets import from_histogram
from simulator.counters import Growth, gaps, grown, scrape_interval, spread_over
from simulator.discrete import Job
from simulator.followed import Consumers, follow_run
from simulator.scenarios import SHAPES, Scenario, measured_step, scenario, to_peak
from simulator.simulate import Fixed, Run
from simulator.sizes import by_second, drawn, parse_jobs, parse_sizes
from simulator.sweep import run_of
from simulator.world import World

ONE = World(concurrency=1, service_seconds=10.0, startup=(0.0, 0.0), initial=2, max_replicas=2)


def both(name: str) -> tuple[Scenario, Scenario]:
    """The same for the fluid, and for the engine that follows each job of 0.1 s."""
    shape = measured_step() if name == "measured-step" else scenario(name)
    assert shape is not None
    found = to_peak(shape, 4) if shape.to_scale else shape
    found = replace(found, world=replace(found.world, startup=(4.0, 4.0)))  # drawn starts of few replicas differ by more
    return found, replace(found, jobs=drawn(found.arrivals, parse_sizes("0.1"), Random(0)))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["measured-step", "spike", "silent_then_burst", "ramp"])
def test_both_engines_agree_on_short_jobs(name: str, policy: str) -> None:
    """Pod-seconds within 3 %, mean wait within a tenth or 0.5 s, the peak of replicas within one. The fluid goes by 0.25 s;
    on the ramp an HPA sees a job more in one engine and scales a sync of 15 s sooner: 0.3 s of the mean wait."""
    fluid, followed = (run_of(one, POLICIES[policy](one.world, one.arrivals)) for one in both(name))
    assert followed.totals.arrived == fluid.totals.arrived
    assert followed.score.pod_seconds == pytest.approx(fluid.score.pod_seconds, rel=0.03)
    assert followed.totals.mean_wait_s == pytest.approx(fluid.totals.mean_wait_s, rel=0.1, abs=0.5)
    assert max(followed.series.asked) == pytest.approx(max(fluid.series.asked), abs=1)


@pytest.mark.parametrize("policy", [*POLICIES, "fixed:10"])
def test_who_is_paid_for_is_in_the_picture(policy: str) -> None:
    """The area below the higher of the two lines of replicas: cordoned ones, and those that drain, are paid for too. A replica that
    starts while others drain is in one line and those in the other: 5 % of it may be missing."""
    place = World(concurrency=4, service_seconds=195.0, initial=5, max_replicas=10)
    jobs = [*(Job(0.0, 600.0, "long") for _ in range(10)), *(Job(0.0, 60.0, "short") for _ in range(30))]
    run = run_of(Scenario("two", place, by_second(jobs) + [0.0] * 700, jobs=jobs), build(policy)(place, by_second(jobs)))
    paid = run.score.pod_seconds
    assert sum(map(max, run.series.asked, run.series.ready)) >= 0.95 * paid, "its points are seconds"
    if policy == "ours":
        assert sum(run.series.asked) >= 0.98 * paid, "asked includes cordoned replicas"
        assert sum(run.series.ready) >= 0.95 * paid, "which run"


@pytest.mark.parametrize("policy", POLICIES)
def test_who_is_paid_for_is_in_the_picture_of_the_fluid(policy: str) -> None:
    found = both("on_off")[0]
    run = run_of(found, build(policy)(found.world, found.arrivals))
    assert sum(map(max, run.series.asked, run.series.ready)) >= 0.95 * run.score.pod_seconds


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("objective", [0.5, 2.0, 5.0, 30.0])
def test_where_no_second_is_late_no_job_is(policy: str, objective: float) -> None:
    for engine in both("spike"):
        found = replace(engine, world=replace(engine.world, objective=objective))
        score = run_of(found, build(policy)(found.world, found.arrivals)).score
        assert (score.late_s == 0) == (score.late_jobs == 0)


def follow(jobs: Sequence[Job], replicas: int = 2, seconds: float = 100.0, world: World = ONE, prefetch: int = 1) -> Run:
    return follow_run(world, jobs, Fixed(replicas, interval=1.0), seconds, how=Consumers(prefetch))


def test_scores_of_a_run_that_can_be_counted() -> None:
    """Two at a time, 10 s each: they wait 0, 0, 10, 10 and 20 s."""
    run = follow([Job(0.0, 10.0) for _ in range(5)])
    score = run.score
    assert (score.p50_wait_s, score.p95_wait_s, run.totals.mean_wait_s) == (10.0, 20.0, 8.0)
    assert (score.late_s, score.late_jobs, run.late) == (15.0, 3, ((5.0, 20.0),))
    assert (score.max_backlog, score.returned, score.drain_s) == (5, 0, 20.0)
    assert (score.pod_seconds, score.scale_actions) == (200.0, 0)
    assert run.series.backlog[0:31:10] == (5, 5, 3, 1)
    assert run.series.backlog[31] == 0
    assert run.series.asked == (2,) * 100


def test_what_waits_at_the_end_counts_and_what_comes_later_does_not() -> None:
    run = follow([Job(0.0, 200.0), Job(0.0, 200.0), Job(90.0, 1.0), Job(101.0, 1.0)])
    assert (run.totals.arrived, run.totals.completed, run.totals.waiting, run.totals.in_flight) == (3, 0, 1, 2)
    assert (run.score.p99_wait_s, run.score.late_s) == (10.0, 5.0)


def test_a_job_that_is_handed_back_waits_anew() -> None:
    """The replica that is to go at 5 s hands its job back at 25 s; the other one is busy until 40 s."""
    world = replace(ONE, drain_seconds=20.0)
    run = follow_run(world, [Job(0.0, 40.0), Job(0.0, 40.0)], Plan([2, 1], change_at=5.0), 100.0, how=Consumers(1))
    assert run.score.returned == 1
    assert (run.score.p99_wait_s, run.score.late_s) == (15.0, 10.0), "from 25 s to 40 s"


class Plan:
    """Two sizes, the second from a time on."""

    name, interval = "plan", 1.0

    def __init__(self, sizes: Sequence[int], change_at: float) -> None:
        self._sizes, self._change_at = sizes, change_at

    def ask(self, seen: object, now: float) -> int:
        return self._sizes[now >= self._change_at]


def test_a_run_ends_at_its_time_limit() -> None:
    run = follow([Job(0.0, 500.0, limit=30.0)])
    assert run.totals.completed == 1
    assert run.series.backlog[29:32] == (1, 1, 0)


def test_prefetched_jobs_of_a_busy_replica_wait_for_it() -> None:
    jobs = [Job(0.0, 50.0), Job(0.0, 1.0), Job(0.1, 1.0), Job(0.2, 1.0)]
    assert follow(jobs, prefetch=1).score.p99_wait_s < 3.0
    assert follow(jobs, prefetch=2).score.p99_wait_s == pytest.approx(49.9, abs=0.2)


# --- sizes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mean", "cv"),
    [("60", 60, 0), ("constant:2", 2, 0), ("exponential:5", 5, 1), ("lognormal:10,1.5", 10, 1.5), ("0.5*1 + 0.5*3", 2, 0.5)],
)
def test_sizes_have_their_mean_and_deviation(text: str, mean: float, cv: float) -> None:
    sizes, rng = parse_sizes(text), Random(1)
    assert sizes.mean == pytest.approx(mean)
    assert sizes.cv == pytest.approx(cv)
    takes = [sizes.job(0.0, rng).takes for _ in range(40_000)]
    assert fmean(takes) == pytest.approx(mean, rel=0.04)
    assert pstdev(takes) == pytest.approx(cv * mean, rel=0.1)


def test_each_part_of_a_mixture_is_a_job_type() -> None:
    sizes, rng = parse_sizes("0.75*0.1+0.25*exponential:600"), Random(1)
    jobs = [sizes.job(0.0, rng) for _ in range(4000)]
    assert sum(job.kind == "0.1" for job in jobs) == pytest.approx(3000, rel=0.05)
    assert {job.kind for job in jobs} == {"0.1", "exponential:600"}


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "normal:3", "lognormal:3", "0.5*", "1+", "exponential:1,2", "inf"])
def test_what_is_no_law_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="neither a CSV file that can be read nor a law"):
        parse_sizes(text)


@pytest.mark.parametrize(
    ("text", "total"), [("0.5*10", "0.5"), ("3*0.1 + 1*exponential:6", "4"), ("1 + 2", "2"), ("0.9*1 + 0.08*2", "0.98")]
)
def test_parts_that_are_not_the_whole_are_told_with_their_sum(text: str, total: str) -> None:
    with pytest.raises(SettingsError, match=rf"the parts sum to {total}, and must sum to 1: write before each \* which part"):
        parse_sizes(text)


@pytest.mark.parametrize("part", ["0.333", "0.33"])
def test_thirds_may_be_written_short(part: str) -> None:
    assert parse_sizes(f"{part}*1 + {part}*2 + {part}*3").mean == pytest.approx(2.0)


def test_jobs_of_a_file() -> None:
    jobs = parse_jobs("at,seconds,type\n3.5,10,b\n0,2,a\n", limit=9.0)
    assert [(job.at, job.takes, job.kind, job.limit) for job in jobs] == [(0, 2, "a", 9), (3.5, 10, "b", 9)]
    assert by_second(jobs) == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line is ''"),
        ("second,arrivals\n1,1", "must be 'at,seconds'"),
        ("at,seconds", "has no job"),
        ("at,seconds\n1,x", "line 2: '1,x'"),
        ("at,seconds\n1", "line 2: '1'"),
        ("at,seconds\n1,0", "line 2: at=1"),
        ("at,seconds\nnan,1", "line 2: at=nan"),
        ("at,seconds\n1,2\n\n3,4,5", "line 4: '3,4,5' has 3 columns, and the first line 2"),
        ("at,seconds,type\n1,2,a,b", "line 2: '1,2,a,b' has 4 columns, and the first line 3"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_jobs(text)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50))
def test_no_job_is_lost_or_comes_before_its_second(arrivals: list[float]) -> None:
    jobs = drawn(arrivals, parse_sizes("1"), Random(0))
    assert len(jobs) == int(sum(arrivals) + 1e-6)
    assert [job.at for job in jobs] == sorted(job.at for job in jobs)
    assert all(0 <= job.at < len(arrivals) and arrivals[int(job.at)] > 0 for job in jobs)


# --- histograms and counters ---------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.002, 1700), min_size=1, max_size=40))
def test_a_histogram_keeps_its_shares_and_its_mean(takes: list[float]) -> None:
    bounds = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, math.inf)
    cumulative = {bound: float(sum(seconds <= bound for seconds in takes)) for bound in bounds}
    law = from_histogram("a", cumulative, fmean(takes))
    assert law is not None
    assert law.mean == pytest.approx(fmean(takes), rel=0.03)
    rng = Random(1)
    draws = [law.draw(rng) for _ in range(4000)]
    for lower, upper in pairwise((0.0, *bounds)):
        part = (cumulative[upper] - cumulative.get(lower, 0.0)) / len(takes)
        assert sum(lower <= draw <= upper for draw in draws) / 4000 >= part - 0.04
        assert part > 0 or not any(lower < draw < upper for draw in draws)


def test_jobs_that_are_all_alike_stay_so() -> None:
    law = from_histogram("a", {0.025: 0.0, 0.1: 500.0, math.inf: 500.0}, 0.1)
    assert law is not None
    assert law.mean == pytest.approx(0.1, rel=0.01)
    assert law.deviation == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize(("cumulative", "mean"), [({}, 1.0), ({math.inf: 5.0}, 1.0), ({1.0: 0.0}, 1.0), ({1.0: 5.0}, 0.0)])
def test_a_histogram_that_says_nothing_is_none(cumulative: dict[float, float], mean: float) -> None:
    assert from_histogram("a", cumulative, mean) is None


def test_a_counter_that_begins_again_or_comes_later_has_grown_within_a_scrape() -> None:
    there = [(0.0, 100.0), (15.0, 130.0), (30.0, 20.0)]
    assert grown(there, 15.0, 0.0) == [Growth(0.0, 15.0, 30.0), Growth(15.0, 30.0, 20.0)]
    assert grown([(600.0, 50.0), (615.0, 50.0)], 15.0, 0.0) == [Growth(585.0, 600.0, 50.0)]
    assert grown([(0.0, 5.0), (3600.0, 7.0)], 15.0, 0.0) == [Growth(0.0, 3600.0, 2.0)], "over a gap: even"
    assert grown([(0.0, 5.0), (3600.0, 3.0)], 15.0, 0.0) == [Growth(3585.0, 3600.0, 3.0)], "a new process after a gap"


def test_gaps_are_those_that_no_series_fills() -> None:
    one = [(float(at), 0.0) for at in (*range(0, 300, 15), *range(900, 1200, 15))]
    other = [(float(at), 0.0) for at in range(300, 600, 15)]
    assert scrape_interval([one, other]) == 15.0
    assert gaps([one, other], 0.0, 2000.0, 15.0) == [(585.0, 900.0), (1185.0, 2000.0)]


def test_growth_is_spread_and_moved_to_when_it_arrived() -> None:
    assert spread_over([Growth(1001.0, 1003.5, 5.0)], 1000.0, 1006.0, {}) == [0, 2.0, 2.0, 1.0, 0, 0]
    assert spread_over([Growth(1062.0, 1064.0, 4.0)], 1000.0, 1006.0, {17: 60.0}) == [0, 0, 2.0, 2.0, 0, 0]
    assert spread_over([Growth(1000.0, 1002.0, 4.0)], 1000.0, 1003.0, {16: 1.0}) == [2.0, 0, 0], "before the range: left out"


def test_every_generator_can_be_followed() -> None:
    for name in SHAPES:
        fluid, followed = both(name)
        assert followed.jobs is not None
        assert len(followed.jobs) == pytest.approx(sum(fluid.arrivals), abs=1)
