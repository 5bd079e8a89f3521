"""When to try again: a policy, and the delay that it gives."""

from __future__ import annotations

from dataclasses import dataclass

from core.chance import Draw
from core.errors import ContractError

# The delay ladder has 22 levels, of 1 s, 2 s, 4 s ... so the longest delay is 2**22 - 1 s, 48.5 days.
MAX_DELAY = float(2**22 - 1)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The delay before attempt n + 1 is drawn evenly from 0 to min(cap, base * 2**(n - 1)) seconds ("full jitter": Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    max_attempts: runs in all, the first included; 1 never retries.
    base, cap: seconds.
    """

    max_attempts: int = 8
    base: float = 1.0
    cap: float = 300.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ContractError(f"RetryPolicy.max_attempts must be 1 or more, not {self.max_attempts}")
        if not 0 < self.base <= self.cap <= MAX_DELAY:
            raise ContractError(f"RetryPolicy needs 0 < base <= cap <= {MAX_DELAY:.0f} s, not base={self.base}, cap={self.cap}")

    def delay(self, attempt: int, chance: Draw) -> float | None:
        """Seconds to wait after the failed `attempt` (1 is the first), or None when that was the last."""
        if attempt >= self.max_attempts:
            return None
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 62))
        return chance.uniform(0.0, ceiling)
