"""How long the simulator takes for the largest day: 230 million jobs. `make bench-simulate`.

A figure of this machine and this hour: a core of its own gives 3 s, a crowded one gave 35 s.
"""

from __future__ import annotations

import time

from simulator.scenarios import big_day
from simulator.simulate import Fixed, simulate


def main() -> None:
    day = big_day()
    began, busy = time.perf_counter(), time.process_time()
    run = simulate(day.world, day.arrivals, Fixed(150, interval=2.0))
    took, cpu = time.perf_counter() - began, time.process_time() - busy
    print(f"{run.totals.arrived:,.0f} jobs of {len(day.arrivals):,} s: {took:.1f} s, {cpu:.1f} s of CPU")


if __name__ == "__main__":
    main()
