"""One policy at many settings, and two policies compared where they are equally late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from simulator.followed import follow_run
from simulator.rivals import oracle
from simulator.scaler import Scaler
from simulator.scenarios import Scenario
from simulator.simulate import Run, Score, simulate


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a policy: its values, and its result."""

    setting: str
    score: Score


def run_of(scenario: Scenario, scaler: Scaler, seed: int = 0) -> Run:
    """One run, on the engine that the scenario is for. scaler: a new one."""
    world, arrivals = scenario.world, scenario.arrivals
    if scenario.jobs is None:
        return simulate(world, arrivals, scaler, seed=seed, trace=scenario.name)
    return follow_run(world, scenario.jobs, scaler, len(arrivals), seed, trace=scenario.name, how=scenario.how)


def score_of(scenario: Scenario, scaler: Scaler, seed: int = 0) -> Score:
    """The score of a run."""
    return run_of(scenario, scaler, seed).score


def bound_of(scenario: Scenario, seed: int = 0) -> Run:
    """The bound that no policy of at least one replica (none, where the scenario begins with none) can beat: `rivals/oracle.py`."""
    world, arrivals, least = scenario.world, scenario.arrivals, min(1, scenario.world.initial)
    if scenario.jobs is None:
        return oracle.of_arrivals(world, arrivals, seed, minimum=least, trace=scenario.name)
    return oracle.of_jobs(world, scenario.jobs, len(arrivals), seed, minimum=least, trace=scenario.name)


def least_pods(ours: Iterable[Point], late_s: float) -> Point | None:
    """Of our settings that are no later than `late_s` seconds the one with the fewest pod-seconds; None if all are later."""
    soon_enough = [point for point in ours if point.score.late_s <= late_s]
    return min(soon_enough, key=lambda point: point.score.pod_seconds, default=None)


def ratio_at_equal_lateness(ours: Iterable[Point], rival: Score) -> float | None:
    """Our pod-seconds over the rival's, with our knob turned until we are no later; below 1 we are cheaper."""
    point = least_pods(ours, rival.late_s)
    return None if point is None or not rival.pod_seconds else point.score.pod_seconds / rival.pod_seconds


def better_than(ours: Score, rivals: Mapping[str, Sequence[Point]]) -> list[tuple[str, Point]]:
    """The rivals' settings that have both fewer late seconds and fewer pod-seconds than `ours`."""
    return [
        (name, point)
        for name, points in rivals.items()
        for point in points
        if point.score.late_s < ours.late_s and point.score.pod_seconds < ours.pod_seconds
    ]
