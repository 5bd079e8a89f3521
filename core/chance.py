"""The only place that draws random numbers and makes ids by chance. Everything else is given a `Chance`.

With a `SeededChance` and a clock of its own a whole system runs the same way again.
"""

from __future__ import annotations

import itertools
import random
import uuid
from typing import Protocol

from uuid_utils import uuid7

from core.clock import Clock


class Draw(Protocol):
    """The source of random delays; `random.Random` is one."""

    def uniform(self, low: float, high: float) -> float:
        """A number drawn evenly from `low` to `high`."""


class Chance(Draw, Protocol):
    """Random values: delays, and ids that are unique."""

    def bits(self, count: int) -> int:
        """A whole number of `count` random bits. Not for secrets."""

    def token(self) -> str:
        """A text that no other call gives, in this process or another. It need not be hard to guess."""

    def uuid7(self) -> str:
        """A UUIDv7 (RFC 9562): sortable by the time at which it was made."""


class SystemChance:
    """Seeded by the operating system."""

    def __init__(self) -> None:
        draw = random.Random()
        self.uniform = draw.uniform
        self.bits = draw.getrandbits
        self._prefix = uuid.uuid4().hex + "-"
        self._numbers = itertools.count()

    def token(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"

    def uuid7(self) -> str:
        return str(uuid7())


class SeededChance:
    """The same seed gives the same draws. The time in its ids is the clock's."""

    def __init__(self, seed: int | str, clock: Clock) -> None:
        draw = random.Random(seed)
        self.uniform = draw.uniform
        self.bits = draw.getrandbits
        self._clock = clock

    def token(self) -> str:
        return f"{self.bits(96):024x}"

    def uuid7(self) -> str:
        milliseconds = int(self._clock.wall() * 1000) & (1 << 48) - 1
        value = milliseconds << 80 | 0x7 << 76 | self.bits(12) << 64 | 0b10 << 62 | self.bits(62)
        return str(uuid.UUID(int=value))
