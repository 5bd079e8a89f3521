"""Each fault that is put back is found, at the latest by the seed that is given here; and it is the fault that is found."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.mutants import MUTANTS, load
from tests.simulation.soak import one

load()
# Of this number of seeds at least one finds each of them; `test_schedules.py` shows that none of these fails without a fault.
WITHIN = 700
# A fault that takes several accidents of one kind at once is looked for in schedules of that kind alone.
ONLY = {"outcome_overtaken_at_drain": ("drain",)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_it_is_found(name: str) -> None:
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for seed, wrong in processes.map(_run, [(seed, name) for seed in range(WITHIN)], chunksize=5):
            if wrong:
                processes.shutdown(wait=False, cancel_futures=True)
                assert not one(seed, only=ONLY.get(name, ())).wrong, "the seed fails without it too"
                print(f"{name}: seed {seed}: {wrong[0]}")
                return
    pytest.fail(f"{name} was not found by {WITHIN} seeds")


def _run(what: tuple[int, str]) -> tuple[int, list[str]]:
    seed, name = what
    return seed, one(seed, name, ONLY.get(name, ())).wrong
