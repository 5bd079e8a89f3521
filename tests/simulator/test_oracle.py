"""The bound: what can be counted by hand, and that no policy passes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from cli.policies import POLICIES, Build, ours
from simulator import arrivals as make
from simulator.discrete import Job
from simulator.rivals import Fixed
from simulator.rivals.oracle import of_arrivals, of_jobs
from simulator.scenarios import SHAPES, Scenario, measured_step, scenario, to_peak
from simulator.simulate import Run
from simulator.sizes import drawn, parse_sizes
from simulator.sweep import bound_of, run_of
from simulator.world import World

ONE = World(concurrency=1, service_seconds=1.0, startup=(2.0, 9.0), max_replicas=10, objective=5.0)  # a replica does 1 job/s
TRACES = Path(__file__).parents[2] / "bench" / "traces"
SIZES = {"short": "0.1", "long": "120", "mixed": "0.9*1 + 0.1*lognormal:300,1"}


def bound(world: World, jobs: Sequence[Job], seconds: int, minimum: int = 0) -> tuple[float, float]:
    """Late seconds and pod-seconds."""
    score = of_jobs(world, jobs, seconds, minimum=minimum).score
    return score.late_s, score.pod_seconds


def test_the_work_is_paid_for_even_by_who_sees_the_future() -> None:
    assert bound(ONE, [Job(at, 1.0) for at in range(20)], 60) == (0.0, 20.0)
    assert bound(replace(ONE, concurrency=4), [Job(at, 1.0) for at in range(20)], 60) == (0.0, 5.0)


def test_what_need_not_have_begun_by_the_end_costs_nothing() -> None:
    """Of jobs at 50 and 57 the first must have begun by 55, and has run for 5 s then; the second may wait beyond the end."""
    assert bound(ONE, [Job(50.0, 30.0), Job(57.0, 30.0)], 60) == (0.0, 5.0)


def test_the_minimum_is_paid_for_while_there_is_nothing_to_do() -> None:
    """100 s of work, which may begin 5 s later: the other 300 s are paid for, too."""
    jobs = [Job(0.0, 100.0)]
    assert bound(ONE, jobs, 400, minimum=1) == (0.0, 400.0)
    assert bound(ONE, jobs, 400) == (0.0, 100.0)


def test_two_replicas_at_once_pay_for_no_idle_one() -> None:
    """Each of two jobs of 100 s has a slot of its own by 5 s: from 105 s on nothing is done, and the minimum is paid for."""
    jobs = [Job(0.0, 100.0), Job(0.0, 100.0)]
    assert bound(ONE, jobs, 400, minimum=1) == (0.0, 200.0 + 400.0 - 105.0)


def test_starts_are_paid_for_where_the_work_is_dense() -> None:
    """20 jobs of 10 s are done by 15 s: more than 12 replicas in 16 s, 12 starts of 2 s beside the initial one."""
    pods = 20 * 10.0 + 12 * 2.0
    assert bound(replace(ONE, max_replicas=20), [Job(0.0, 10.0) for _ in range(20)], 60) == (0.0, pods)


def test_who_cannot_be_in_time_is_late_at_the_least() -> None:
    """10 replicas: 10 of the jobs begin by 2 s, the others as these end, the last at 12 s. No job is in time from 5 s to 12 s."""
    run = of_jobs(ONE, [Job(0.0, 10.0) for _ in range(20)], 60, minimum=0)
    assert run.late == ((5.0, 12.0),)
    assert (run.score.late_s, run.score.late_jobs) == (7.0, 10)
    assert run.score.pod_seconds >= 20 * 10.0


def test_the_fluid_has_the_same_bound() -> None:
    steady = [2.0] * 60
    run = of_arrivals(replace(ONE, initial=2), steady, minimum=0)
    assert run.score.late_s == 0.0
    assert run.score.pod_seconds == pytest.approx(2.0 * (60 - 5 - 1), abs=3.0)
    assert (run.score.policy, run.score.scale_actions) == ("oracle", 0)
    assert max(run.series.asked) == 2, "its picture is the load"


def policies() -> dict[str, Build]:
    """All, ours at several settings too, and the fleets of three sizes."""
    targets = {f"ours {target:g}": ours(drain_target=target) for target in (0.5, 20.0, 300.0)}

    def fixed(size: int) -> Build:
        return lambda world, _: Fixed(size)

    return {**POLICIES, **targets, **{f"fixed {size}": fixed(size) for size in (1, 4, 1000)}}


def recorded(name: str, replicas: int) -> Scenario:
    trace = make.compressed(make.parse_trace((TRACES / f"{name}.csv").read_text(encoding="utf-8")), 4)
    return to_peak(Scenario(name, World(dt=0.5), trace, to_scale=True), replicas)


def found(name: str) -> Scenario:
    if name == "measured-step":
        return measured_step()
    if name in SHAPES:
        shape = scenario(name)
        assert shape is not None
        return to_peak(shape, 12)
    return recorded(name, 20)


def passes(run: Run, least: Run) -> bool:
    """Whether a run is better than the bound: a thousandth of its pod-seconds is what counting in steps may round off."""
    late, bound = run.score.late_s, least.score.late_s
    return late < bound or (late == bound and run.score.pod_seconds < 0.999 * least.score.pod_seconds)


@pytest.mark.parametrize("cv", [0.0, 1.0])
@pytest.mark.parametrize("name", ["measured-step", *SHAPES, "azure-llm-code-2023", "azure-llm-conv-2023"])
def test_no_policy_passes_it_in_the_fluid(name: str, cv: float) -> None:
    one = found(name)
    one = replace(one, world=replace(one.world, service_cv=cv))
    least = bound_of(one)
    for policy, make_scaler in policies().items():
        assert not passes(run_of(one, make_scaler(one.world, one.arrivals)), least), policy
    assert least.score.pod_seconds > 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["measured-step", *SHAPES])
def test_no_policy_passes_it_where_each_job_is_followed(name: str, size: str) -> None:
    """One that breaks runs off has paid for them in part, and their jobs wait again: the bound does not hold for it."""
    sizes = parse_sizes(SIZES[size])
    one = replace(found(name), world=World(concurrency=4, service_seconds=sizes.mean))
    scaled = to_peak(replace(one, arrivals=one.arrivals[::10]), 6)  # a tenth of the time, and few jobs: seconds and not minutes
    one = replace(scaled, jobs=drawn(scaled.arrivals, sizes, Random(1)), arrivals=[*scaled.arrivals, *[0.0] * 300])
    least = bound_of(one)
    for policy, make_scaler in policies().items():
        run = run_of(one, make_scaler(one.world, one.arrivals))
        assert run.score.returned or not passes(run, least), policy
