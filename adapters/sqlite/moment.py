"""Now, by the two clocks that processes of one machine share."""

from __future__ import annotations

from typing import NamedTuple

from core.clock import Clock

# Twelve of the 36 characters of its id tell one machine's boots apart, and keep each row small, and so each sync.
_BOOT = 12


class Moment(NamedTuple):
    """wall: Unix seconds, for people, for retention, and across a reboot. boot, seconds: which boot of the machine, and since when:
    for leases and delays; a step of the wall clock does not change it."""

    wall: float
    boot: str
    seconds: float

    @classmethod
    def of(cls, clock: Clock) -> Moment:
        boot = clock.boot()
        return cls(clock.wall(), boot.boot[:_BOOT], boot.seconds)
