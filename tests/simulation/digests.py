"""The hash of everything that happens, for some seeds: one a line."""

from __future__ import annotations

import sys

from tests.simulation.world import simulate

if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        print(number, simulate(number).digest)
