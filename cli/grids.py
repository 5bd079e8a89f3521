"""The settings at which each policy is tried: the one knob of ours, and a search over what the rivals let one set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from cli.policies import ORACLE, Build, build, hpa, keda, kpa, ours, practo
from simulator.rivals import Mode
from simulator.scenarios import Scenario
from simulator.sweep import Point, bound_of, score_of
from simulator.world import World

# Seconds within which a backlog is to be gone.
DEFAULT = "drain_target=5"
DRAIN_TARGETS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 25.0, 40.0, 60.0, 120.0, 300.0, 600.0)


def our_curve(scenario: Scenario, seed: int = 0) -> list[Point]:
    """Ours, with only the drain target turned."""
    return [_point(scenario, f"drain_target={target:g}", ours(drain_target=target), seed) for target in DRAIN_TARGETS]


def curve(policy: str, scenario: Scenario, seed: int = 0) -> list[Point]:
    """A policy at its defaults and at every setting of its grid."""
    if policy == "ours":
        return our_curve(scenario, seed)
    if policy == ORACLE:
        return [Point("the bound", bound_of(scenario, seed).score)]
    defaults = [("documented defaults", build(policy))]
    grid = [*defaults, *_GRIDS[policy](scenario.world)] if policy in _GRIDS else defaults
    return [_point(scenario, setting, make, seed) for setting, make in grid]


def _point(scenario: Scenario, setting: str, make: Build, seed: int) -> Point:
    return Point(setting, score_of(scenario, make(scenario.world, scenario.arrivals), seed))


def _keda(world: World) -> Iterator[tuple[str, Build]]:
    """value: from a fifth of a second's work of a replica to two minutes' of it."""
    for seconds, polling in product((0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0), (5.0, 30.0)):
        value = seconds * world.replica_rate
        yield f"value={value:g} polling={polling:g}", keda(value=value, polling=polling)


def _keda_rate(world: World) -> Iterator[tuple[str, Build]]:
    for part, polling in product((0.3, 0.5, 0.7, 0.8, 0.9, 1.0), (5.0, 30.0)):
        value = part * world.replica_rate
        yield f"value={value:g} polling={polling:g}", keda(Mode.MESSAGE_RATE, value, polling=polling)


def _kpa(world: World) -> Iterator[tuple[str, Build]]:
    """target: in what a replica runs at once, since on a queue the backlog counts as concurrency too."""
    for times, utilisation, window in product((1, 2, 5, 10, 20, 50), (0.7, 1.0), (6.0, 30.0, 60.0)):
        settings = {"target": times * world.concurrency, "utilisation": utilisation, "stable_window": window}
        yield f"target={settings['target']:g} utilisation={utilisation:g} stable_window={window:g}", kpa(**settings)


def _practo(world: World) -> Iterator[tuple[str, Build]]:
    for seconds, delay in product((0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0), (60.0, 600.0)):
        share = max(1, round(seconds * world.replica_rate))
        yield f"messages={share} scale_down_delay={delay:g}", practo(share, scale_down_delay=delay)


def _hpa(world: World) -> Iterator[tuple[str, Build]]:
    for seconds in (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0):
        value = seconds * world.replica_rate
        yield f"value={value:g}", hpa(value)


_GRIDS = {"keda": _keda, "keda-rate": _keda_rate, "kpa": _kpa, "practo": _practo, "hpa": _hpa}
RIVALS: Sequence[str] = ("keda", "keda-rate", "kpa", "practo")
