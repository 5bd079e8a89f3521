"""`headrace simulate --tune`: searches our policy's parameters on one trace, and prints the settings to paste."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import orjson
from rich.console import Console

from cli.policies import ours
from simulator.scenarios import Scenario
from simulator.simulate import Score
from simulator.sweep import score_of

# The values that the search may choose from. Few values each, far apart: a finer choice would fit the trace and not the traffic.
_CHOICES: Mapping[str, tuple[float, ...]] = {
    "drain_target": (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0),
    "utilisation": (0.6, 0.7, 0.8, 0.9, 1.0),
    "down_window": (2.0, 6.0, 12.0, 30.0, 60.0, 300.0),
    "step_down": (0.1, 0.25, 0.5, 1.0),
    "tolerance": (0.05, 0.1, 0.2),
}
_STARTS = 3


def cost(score: Score, weight: float) -> float:
    """Pod-seconds, and `weight` more for each second in which the oldest job waited beyond the objective."""
    return score.pod_seconds + weight * score.late_s


def tune(scenario: Scenario, weight: float, seed: int = 0) -> tuple[dict[str, float], Score]:
    """Coordinate descent from a few starts; the best parameters, and their score."""
    rng, known = Random(seed), dict[tuple[float, ...], Score]()

    def tried(choice: dict[str, float]) -> float:
        key = tuple(choice.values())
        if key not in known:
            known[key] = score_of(scenario, ours(**choice)(scenario.world, scenario.arrivals), seed)
        return cost(known[key], weight)

    bests = [_descended({name: rng.choice(values) for name, values in _CHOICES.items()}, tried) for _ in range(_STARTS)]
    best = min(bests, key=tried)
    return best, known[tuple(best.values())]


def _descended(choice: dict[str, float], tried: Callable[[dict[str, float]], float]) -> dict[str, float]:
    while True:
        before = dict(choice)
        for name, values in _CHOICES.items():
            choice = min(({**choice, name: value} for value in values), key=tried)
        if choice == before:
            return choice


def show(scenario: Scenario, others: list[Scenario], weight: float, seed: int, console: Console) -> None:
    """Tune on one trace, and tell what comes of it on the others: what fits only its own trace shows there."""
    best, score = tune(scenario, weight, seed)
    console.print(f"tuned on {scenario.name}, a late second costing {weight:g} pod-seconds. Settings to paste into a policy:")
    console.print(orjson.dumps(best).decode(), style="bold", highlight=False, soft_wrap=True)
    for where, found in [(scenario, score), *((s, score_of(s, ours(**best)(s.world, s.arrivals), seed)) for s in others)]:
        default = score_of(where, ours()(where.world, where.arrivals), seed)
        told = f"{found.late_s:g} s late, {found.pod_seconds:,.0f} pod-seconds"
        console.print(f"  {where.name}: {told} (defaults: {default.late_s:g} s, {default.pod_seconds:,.0f})", highlight=False)
