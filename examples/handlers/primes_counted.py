"""A long job with progress, which ends at its time limit.

`ctx.progress` returns at once, so each step may call it: the newest value is written about once a second, and
`GET /v1/jobs/{job_id}` shows it. A plain function cannot be cancelled, so each step calls `ctx.check`, too.
"""

from __future__ import annotations

from math import isqrt

from consumer import Context, handler
from examples.contracts.primes_counted import PrimesCounted

STEP = 1_000_000


@handler("primes.counted", queue="sums")
def count_primes(asked: PrimesCounted, ctx: Context) -> dict[str, int]:
    small = _small_primes(isqrt(asked.below))
    count = 0
    for start in range(2, asked.below, STEP):
        ctx.check()
        end = min(start + STEP, asked.below)
        count += _primes_between(start, end, small)
        ctx.progress({"looked_at": end, "of": asked.below, "primes": count})
    return {"primes": count}


def _small_primes(most: int) -> list[int]:
    return [n for n in range(2, most + 1) if all(n % p for p in range(2, isqrt(n) + 1))]


def _primes_between(start: int, end: int, small: list[int]) -> int:
    """The sieve of Eratosthenes for the numbers from `start` to `end - 1`."""
    sieve = bytearray(b"\1") * (end - start)
    for prime in small:
        first = max(prime * prime, -(-start // prime) * prime) - start
        sieve[first::prime] = bytes(len(range(first, len(sieve), prime)))
    return sieve.count(1)
