"""Run schedules: one, so many, or until stopped. Each failure is printed with its seed and its shortest schedule.

python -m tests.simulation.soak --seed 59 --trace     one seed again, with everything that happened
python -m tests.simulation.soak --seeds 2000          seeds 0 to 1999, on all cores
python -m tests.simulation.soak                       from a new seed on, until Ctrl-C
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator

from tests.simulation import mutants
from tests.simulation.plan import drawn
from tests.simulation.shrink import shrunk
from tests.simulation.world import Report, simulate

# The objects that one schedule leaves behind are in cycles; collecting them takes longer than not to, a while.
_COLLECT_EVERY = 8


def one(seed: int, mutant: str = "", only: tuple[str, ...] = ()) -> Report:
    """One seed; with a mutant's name, with that fault put back into the code. only: the kinds of faults that are drawn."""
    with mutants.named(mutant):
        report = simulate(seed, drawn(seed, only))
    if seed % _COLLECT_EVERY == 0:
        gc.collect()
    return report


def many(seeds: Iterable[int], processes: int) -> Iterator[Report]:
    """Each in some process, in the order in which they end. The traces stay behind."""
    gc.collect()
    gc.freeze()
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_without_trace, seeds, chunksize=10)


def _without_trace(seed: int) -> Report:
    report = one(seed)
    if not report.wrong:
        report.trace.clear()
    return report


def explain(seed: int, mutant: str = "", only: tuple[str, ...] = ()) -> str:
    """The seed's failure and its shortest schedule."""
    schedule = drawn(seed, only)
    with mutants.named(mutant):
        report = simulate(seed, schedule)
        if not report.wrong:
            return f"seed {seed}: nothing is wrong"
        short = shrunk(schedule, lambda schedule: bool(simulate(seed, schedule).wrong))
        again = simulate(seed, short)
    lines = [f"seed {seed} fails:", *(f"  {line}" for line in report.wrong), f"with {len(short)} of {len(schedule)} events:"]
    return "\n".join([*lines, *(f"  {event}" for event in short), "it says:", *(f"  {line}" for line in again.wrong)])


def main() -> int:
    arguments = _arguments()
    if arguments.seed is not None:
        report = one(arguments.seed, arguments.mutant, arguments.only)
        print("\n".join(report.trace if arguments.trace else []))
        print(explain(arguments.seed, arguments.mutant, arguments.only))
        return bool(report.wrong)
    start = time.time_ns() // 1_000_000_000 * 100_000 if arguments.seeds is None else 0
    seeds = range(start, start + (arguments.seeds or 10**9))
    began, done, failed = time.monotonic(), 0, []
    with contextlib.suppress(KeyboardInterrupt):
        for report in many(seeds, arguments.processes):
            done += 1
            if report.wrong:
                failed.append(report.seed)
                print(explain(report.seed), flush=True)
            if done % 250 == 0:
                print(f"{done} schedules, {done / (time.monotonic() - began):.0f}/s, {len(failed)} failed", flush=True)
    print(f"{done} schedules in {time.monotonic() - began:.0f} s; failed: {failed or 'none'}")
    return bool(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="run this one, and shorten its schedule if it fails")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--mutant", default="", help="put this fault back into the code")
    parser.add_argument("--only", nargs="+", default=(), help="draw faults of these kinds alone, such as `drain`")
    parser.add_argument("--seeds", type=int, help="run so many, from 0 on")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
