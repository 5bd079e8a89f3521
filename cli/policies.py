"""The policies that `headrace simulate` knows, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from autoscaler.scaler import Scaler
from autoscaler.simulation.arrivals import peak_rate
from autoscaler.simulation.fixed import Fixed, replicas_for
from autoscaler.simulation.world import World
from jobs.errors import SettingsError

Build = Callable[[World, Sequence[float]], Scaler]


def _for_the_peak(world: World, arrivals: Sequence[float]) -> Scaler:
    return Fixed(min(world.max_replicas, replicas_for(world, peak_rate(arrivals))))


POLICIES: Final[Mapping[str, Build]] = {
    "fixed": _for_the_peak,
}


def build(name: str) -> Build:
    """What makes a new scaler of this name for a world and its arrivals; `fixed:12` is a fleet of 12. Raises SettingsError."""
    if name in POLICIES:
        return POLICIES[name]
    kind, _, replicas = name.partition(":")
    if kind == "fixed" and replicas.isdecimal():
        return lambda world, arrivals: Fixed(int(replicas))  # noqa: ARG005 - it depends on neither
    raise SettingsError(f"policy {name!r} is not known; there are {', '.join(sorted(POLICIES))} and fixed:N")
