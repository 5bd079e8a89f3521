"""The simulator: a scaler against arrivals and faults, on a virtual clock. Pure arithmetic, the same for the same seed.

The world goes in steps of `World.dt`. In each, in this order: replicas that have taken their time to start are ready; faults
strike; the scaler is asked when its interval has passed, and what it says holds at once; jobs arrive, end and begin.
A day of 12,000 jobs/s takes seconds, since jobs are counted and not followed: see the other files here for each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from simulator.arrivals import spread
from simulator.faults import Blind, Cap, CounterReset, Fault, Kill, NoStart, Timeline
from simulator.fixed import Fixed
from simulator.plant import Plant
from simulator.scaler import Scaler
from simulator.score import Recorder, Run, Score, Series, Totals
from simulator.world import World

__all__ = [
    "Blind",
    "Cap",
    "CounterReset",
    "Fault",
    "Fixed",
    "Kill",
    "NoStart",
    "Run",
    "Score",
    "Series",
    "Totals",
    "World",
    "simulate",
]


def simulate(
    world: World, arrivals: Sequence[float], scaler: Scaler, faults: Sequence[Fault] = (), seed: int = 0, *, trace: str = ""
) -> Run:
    """Run `scaler` for as long as there are arrivals (the jobs of each second; zeros at the end are time to drain).

    scaler: a new one, since it remembers. seed: of start-up times and of when single jobs end. trace: a name for the score.
    """
    plant = Plant(world, Timeline(faults), Random(seed))
    recorder = Recorder(plant, world, len(arrivals) * world.steps_per_second, sum(arrivals) / max(1, len(arrivals)))
    ask_at = 0.0
    for step, arrived in enumerate(spread(arrivals, world.steps_per_second)):
        now = step / world.steps_per_second
        plant.begin(step, now)
        if now >= ask_at:
            plant.fleet.ask(scaler.ask(plant.observe(step, now), now), now)
            ask_at += scaler.interval
        plant.work(step, now, arrived)
        recorder.after(step)
    return recorder.run(trace, scaler.name)
