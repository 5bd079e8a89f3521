"""The simulator against cases that one can work out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation
from core.errors import SettingsError
from simulator.flight import Flight
from simulator.queue import percentile
from simulator.scenarios import SHAPES, scenario, to_peak
from simulator.simulate import Blind, Cap, CounterReset, Fault, Fixed, Kill, NoStart, Run, World, simulate
from simulator.world import Lags, p95_over_mean, service_lags

ONE = World(concurrency=1, service_seconds=1.0, startup=(0.0, 0.0))  # a replica does 1 job/s


class Plan:
    """Replicas by the time from which they are wanted; keeps what it saw."""

    def __init__(self, wanted: dict[float, int], interval: float = 1.0) -> None:
        self.name = "plan"
        self.interval = interval
        self.wanted = wanted
        self.seen: list[tuple[float, Observation]] = []

    def ask(self, seen: Observation, now: float) -> int:
        self.seen.append((now, seen))
        return [replicas for since, replicas in self.wanted.items() if since <= now][-1]

    def at(self, now: float) -> Observation:
        return dict(self.seen)[now]


def value(figure: object) -> float:
    assert isinstance(figure, Figure), figure
    return figure.value


def balanced(run: Run) -> bool:
    totals = run.totals
    return totals.arrived == totals.completed + totals.waiting + totals.in_flight


def completions(world: World, seconds: int, replicas: int, faults: Sequence[Fault] = ()) -> float:
    """Jobs/s done by a fleet that never lacks work, after a time to begin."""
    plan = Plan({0.0: replicas})
    simulate(replace(world, initial=replicas), [1e6] + [0.0] * seconds, plan, faults)
    first, last = plan.at(20.0), plan.at(float(seconds))
    return (value(last.completed) - value(first.completed)) / (seconds - 20)


# --- capacity, start-up, waits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [1.0, 0.5, 0.25, 0.1, 0.05])
@pytest.mark.parametrize(
    ("concurrency", "seconds", "cv"), [(10, 0.1, 0.0), (10, 0.1, 1.0), (1, 0.1, 0.0), (1, 0.7, 0.0), (4, 3.3, 0.5)]
)
def test_a_busy_replica_does_what_it_can(dt: float, concurrency: int, seconds: float, cv: float) -> None:
    world = World(concurrency=concurrency, service_seconds=seconds, service_cv=cv, dt=dt)
    assert completions(world, 600, 3) == pytest.approx(3 * world.replica_rate, rel=0.02)


def test_jobs_end_a_service_time_after_they_began() -> None:
    plan = Plan({0.0: 1}, interval=0.25)
    simulate(replace(ONE, concurrency=8, dt=0.25), [8.0, 0.0, 0.0], plan)
    done = [value(seen.completed) for now, seen in plan.seen if now <= 2.0]
    assert done == [0, 0, 0, 0, 0, 2, 4, 6, 8]  # 2 arrive in each quarter of the first second, and take 1 s each


def test_waits_are_those_of_first_in_first_out() -> None:
    run = simulate(replace(ONE, dt=1.0), [4.0, 0.0, 0.0, 0.0, 0.0, 0.0], Fixed(1))  # they wait 0, 1, 2 and 3 s
    score = run.score
    assert (score.p50_wait_s, score.p95_wait_s, score.p99_wait_s) == (1.0, 3.0, 3.0)
    assert run.totals.mean_wait_s == 1.5
    assert score.max_backlog == 4


def test_late_seconds_are_those_with_an_old_job_waiting() -> None:
    run = simulate(replace(ONE, dt=1.0, objective=3.0), [8.0] + [0.0] * 10, Fixed(1))
    assert run.score.late_s == 3.0  # the last job waits 7 s: it is too old after 4, 5 and 6 s, and begins at 7
    assert simulate(replace(ONE, dt=1.0, objective=7.0), [8.0] + [0.0] * 10, Fixed(1)).score.late_s == 0


def test_late_jobs_are_those_of_the_late_seconds() -> None:
    """Waits of 0 to 7 s by steps of 1 s. Those of 7 s were seen waiting for 6 s at most, which is no longer than the objective."""
    for objective, late in ((3.0, (3.0, 3)), (5.0, (1.0, 1)), (6.0, (0.0, 0))):
        score = simulate(replace(ONE, dt=1.0, objective=objective), [8.0] + [0.0] * 10, Fixed(1)).score
        assert (score.late_s, score.late_jobs) == late


def test_what_still_waits_at_the_end_counts() -> None:
    run = simulate(replace(ONE, initial=0), [1.0] + [0.0] * 99, Fixed(0))
    assert run.score.p50_wait_s > 98
    assert run.score.late_s > 93
    assert run.score.drain_s == pytest.approx(100, abs=1)


def test_a_replica_takes_its_time_to_start_and_is_paid_for_meanwhile() -> None:
    plan = Plan({0.0: 0, 2.0: 3})
    run = simulate(replace(ONE, initial=0, startup=(4.0, 4.0)), [0.0] * 10, plan)
    assert [value(plan.at(at).ready) for at in (2.0, 5.0, 6.0, 7.0)] == [0, 0, 3, 3]
    assert [value(plan.at(at).running) for at in (2.0, 3.0)] == [0, 3]
    assert run.score.pod_seconds == 3 * 8
    assert run.score.scale_actions == 1


def test_start_up_times_lie_between_the_two() -> None:
    plan = Plan({0.0: 100}, interval=0.25)
    simulate(replace(ONE, initial=0, startup=(1.0, 7.0)), [0.0] * 10, plan)
    ready = {now: value(seen.ready) for now, seen in plan.seen}
    assert ready[1.0] <= 5
    assert 35 <= ready[4.0] <= 65
    assert ready[7.0] == 100


def test_a_replica_that_has_not_started_goes_first() -> None:
    plan = Plan({0.0: 5, 1.0: 2}, interval=0.5)
    run = simulate(replace(ONE, initial=2, startup=(9.0, 9.0)), [0.0] * 12, plan)
    assert value(plan.at(11.0).ready) == 2
    assert run.score.pod_seconds == 2 * 12 + 3 * 1


# --- shrinking --------------------------------------------------------------------------------------------------------------


def test_shrinking_finishes_what_is_held() -> None:
    world = World(concurrency=10, service_seconds=4.0, initial=4, dt=0.5)
    plan = Plan({0.0: 4, 2.0: 1})
    run = simulate(world, [40.0] + [0.0] * 9, plan)
    assert run.score.returned == 0
    assert run.totals.completed == 40
    assert [value(plan.at(at).running) for at in (2.0, 3.0)] == [4, 1]
    assert [value(plan.at(at).in_flight) for at in (3.0, 6.0)] == [40, 0]
    assert run.score.pod_seconds == pytest.approx(10 + 3 * 4.5, abs=0.5)  # the last of the jobs began at 0.5 s


def test_what_takes_too_long_is_given_back_and_done_by_the_others() -> None:
    world = World(concurrency=10, service_seconds=20.0, initial=4, drain_seconds=5.0, dt=0.5)
    run = simulate(world, [40.0] + [0.0] * 99, Plan({0.0: 4, 2.0: 1}))
    assert run.score.returned == 30
    assert run.totals.completed == 40
    assert balanced(run)


def test_an_idle_replica_stops_at_once() -> None:
    run = simulate(replace(ONE, initial=5), [0.0] * 10, Plan({0.0: 5, 4.0: 0}))
    assert run.score.pod_seconds == 20


# --- conservation, determinism ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("cv", [0.0, 1.5])
def test_no_job_is_lost_or_made(name: str, cv: float) -> None:
    found = scenario(name)
    assert found is not None
    found = to_peak(found, 5)
    world = replace(found.world, service_seconds=0.9, concurrency=90, service_cv=cv, drain_seconds=1.0)
    plan = Plan({0.0: 3, 50.0: 10, 90.0: 0, 130.0: 7, 400.0: 2, 700.0: 6})
    faults = (Kill(60, 4), Kill(500, 1), Cap(100, 200, 55.5), NoStart(120, 150), CounterReset(300))
    run = simulate(world, found.arrivals, plan, faults, seed=7)
    assert run.totals.arrived == pytest.approx(sum(found.arrivals), abs=1)
    assert balanced(run)


def test_the_same_seed_gives_the_same_run() -> None:
    world = World(service_cv=1.0)
    runs = [simulate(world, [250.0] * 60, Plan({0.0: 2, 10.0: 5}), seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].score != runs[2].score


def test_the_series_is_thin_and_keeps_its_peaks() -> None:
    run = simulate(World(), [10.0] * 4999 + [5000.0] + [10.0] * 5000, Fixed(1))
    assert len(run.series.at) <= 2000
    assert max(run.series.backlog) == run.score.max_backlog
    assert run.series.at[1] == 5.0
    assert sum(run.series.arrivals) * 5 == pytest.approx(run.totals.arrived)


# --- faults -----------------------------------------------------------------------------------------------------------------


def test_blind_hides_all_and_is_not_zero() -> None:
    plan = Plan({0.0: 1})
    simulate(ONE, [1.0] * 10, plan, [Blind(3, 6)])
    assert plan.at(3.0).ready_jobs is UNKNOWN
    assert plan.at(5.0).running is UNKNOWN
    assert plan.at(5.0).asked == 1
    assert value(plan.at(6.0).published) == 6


def test_blind_to_counters_alone_leaves_the_depth() -> None:
    plan = Plan({0.0: 1})
    simulate(ONE, [3.0] * 10, plan, [Blind(3, 6, counters_only=True)])
    seen = plan.at(4.0)
    assert (seen.published, seen.completed, seen.busy_seconds) == (UNKNOWN,) * 3
    assert value(seen.ready_jobs) > 0


def test_counters_begin_again() -> None:
    plan = Plan({0.0: 1})
    run = simulate(World(), [20.0] * 10, plan, [CounterReset(5)])
    assert [value(plan.at(at).published) for at in (4.0, 5.0, 6.0)] == [80, 0, 20]
    assert value(plan.at(6.0).busy_seconds) == pytest.approx(2, abs=0.3)
    assert run.totals.arrived == 200


def test_replicas_that_cannot_start_wait_for_the_end_of_it() -> None:
    plan = Plan({0.0: 1, 2.0: 4})
    simulate(replace(ONE, startup=(2.0, 2.0)), [0.0] * 16, plan, [NoStart(1, 10)])
    assert [value(plan.at(at).ready) for at in (9.0, 11.0, 12.0)] == [1, 1, 4]
    assert plan.at(5.0).unschedulable
    assert not plan.at(1.0).unschedulable
    assert not plan.at(11.0).unschedulable


def test_downstream_takes_no_more_however_many_ask() -> None:
    world = World(concurrency=10, service_seconds=0.1)
    assert completions(world, 60, 5, faults=[Cap(0, 1000, 130.3)]) == pytest.approx(130.3, rel=0.01)
    assert completions(world, 60, 20, faults=[Cap(0, 1000, 130.3)]) == pytest.approx(130.3, rel=0.01)


def test_a_capped_handler_takes_longer_and_holds_its_slot() -> None:
    plan = Plan({0.0: 4})
    simulate(World(initial=4), [1000.0] * 60, plan, [Cap(0, 1000, 40.0)])
    assert value(plan.at(50.0).in_flight) == pytest.approx(40, abs=1)
    assert value(plan.at(50.0).handler_mean) == pytest.approx(1.0, rel=0.05)  # 40 in flight at 40/s


def test_killed_replicas_lose_no_job_and_are_replaced() -> None:
    world = World(concurrency=10, service_seconds=2.0, initial=4, startup=(3.0, 3.0), dt=0.5)
    plan = Plan({0.0: 4})
    run = simulate(world, [40.0] + [0.0] * 19, plan, [Kill(1.0, 2)])
    assert value(plan.at(1.0).ready) == 2
    assert value(plan.at(1.0).ready_jobs) == 20
    assert value(plan.at(1.0).running) == 4
    assert value(plan.at(5.0).ready) == 4
    assert run.totals.completed == 40
    assert run.score.returned == 0


# --- what is observed ---------------------------------------------------------------------------------------------------------


def test_every_figure_is_known_and_right_on_steady_traffic() -> None:
    plan = Plan({0.0: 3})
    simulate(World(initial=3), [200.0] * 60, plan)
    seen = plan.at(50.0)
    of_one_replica = {"ending", "returned", "due_soon", "takeable", "paused"}  # jobs are counted, and not followed
    assert all(getattr(seen, name) is not UNKNOWN for name in set(Observation.__slots__) - of_one_replica)
    assert seen.wall == World().start_wall + 50
    assert value(seen.published) == 10_000
    assert value(seen.in_flight) == pytest.approx(20, abs=1)  # 200/s for 0.1 s each
    assert value(seen.busy_seconds) == pytest.approx(1000, rel=0.01)
    assert value(seen.handler_mean) == pytest.approx(0.1, rel=0.02)
    assert value(seen.wait_mean) == value(seen.oldest_age) == 0


def test_what_was_waited_of_late_and_the_oldest() -> None:
    plan = Plan({0.0: 1})
    simulate(replace(ONE, dt=1.0), [40.0] + [0.0] * 40, plan)
    seen = plan.at(31.0)
    assert value(seen.oldest_age) == 31
    assert 20 <= value(seen.wait_mean) < value(seen.wait_p95) <= 31


def test_where_nothing_begins_the_wait_is_the_age_of_the_oldest() -> None:
    plan = Plan({0.0: 0})
    simulate(replace(ONE, initial=0), [4.0] + [0.0] * 30, plan)
    assert value(plan.at(20.0).wait_mean) == pytest.approx(20, abs=1)


def test_a_scaler_is_asked_at_its_interval_and_bounded_by_the_world() -> None:
    plan = Plan({0.0: -4, 5.0: 99}, interval=2.5)
    simulate(replace(ONE, max_replicas=7), [0.0] * 10, plan)
    assert [now for now, _ in plan.seen] == [0.0, 2.5, 5.0, 7.5]
    assert [seen.asked for _, seen in plan.seen] == [1, 0, 0, 7]


# --- service times --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "cv", "dt"), [(0.1, 0.0, 0.25), (1.0, 0.0, 0.25), (0.33, 0.0, 0.1), (0.5, 1.0, 0.1), (3.0, 0.5, 1.0)]
)
def test_lags_keep_the_mean(seconds: float, cv: float, dt: float) -> None:
    lags = service_lags(World(service_seconds=seconds, service_cv=cv, dt=dt))
    weights = [after - before for before, after in zip((0.0, *lags.cumulative), lags.cumulative, strict=False)]
    assert sum(lag * dt * weight for lag, weight in zip(lags.steps, weights, strict=True)) == pytest.approx(seconds, rel=0.005)
    assert lags.cumulative[-1] == 1.0


def test_the_p95_of_a_log_normal() -> None:
    rng = Random(1)
    draws = sorted(rng.lognormvariate(-0.34657, 0.83255) for _ in range(40_000))  # cv 1: sigma^2 = ln 2, mean 1
    assert p95_over_mean(1.0) == pytest.approx(draws[38_000], rel=0.03)
    assert p95_over_mean(0.0) == 1.0


def test_few_jobs_and_many_have_the_same_lags() -> None:
    lags, rng = Lags((0, 1, 2, 3), (0.1, 0.4, 0.8, 1.0)), Random(3)
    for size in (1, 3, 50):
        done = [0] * 4
        for _ in range(6000 // size):
            flight = Flight(lags)
            flight.start(0, size, rng.random())
            for step in range(4):
                done[step] += flight.finish(step, 1e9)
            assert flight.jobs == 0
        assert [count / sum(done) for count in done] == pytest.approx([0.1, 0.3, 0.4, 0.2], abs=0.025)


def test_a_split_flight_is_whole() -> None:
    flight = Flight(Lags((1, 2, 3), (0.3, 0.6, 1.0)))
    flight.start(0, 101, 0.5)
    away = flight.split(0.25)
    assert (away.jobs, flight.jobs) == (25, 76)
    assert sum(away.finish(step, 1e9) for step in (1, 2, 3)) == 25
    assert sum(flight.finish(step, 1e9) for step in (1, 2, 3)) == 76


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile({0: 95, 7: 5}, 0.95) == 0
    assert percentile({0: 94, 7: 6}, 0.95) == 7
    assert percentile({}, 0.5) == 0


@pytest.mark.parametrize(
    "wrong", [{"dt": 0.3}, {"concurrency": 0}, {"startup": (5.0, 1.0)}, {"service_seconds": 0.0}, {"initial": -1}]
)
def test_a_world_that_cannot_be_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        World(**wrong)
