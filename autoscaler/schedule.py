"""Floors by the calendar: a minimum of replicas in every minute that a cron expression matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Floor:
    """cron: five fields; the floor holds in each minute that it matches, so `* 8-17 * * mon-fri` is 08:00 to 18:00 on weekdays.

    zone: an IANA time zone, such as Europe/Berlin. Raises SettingsError for what cannot be read.
    """

    cron: str
    replicas: int
    zone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            start = datetime(2026, 1, 1, tzinfo=ZoneInfo(self.zone))
        except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            raise SettingsError(f"floor: zone={self.zone!r} is not an IANA time zone") from None
        try:
            cron = CronSim(self.cron, start)
        except CronSimError as error:
            raise SettingsError(f"floor: cron={self.cron!r}: {error}; {_FORM}") from None
        if len(self.cron.split()) != 5:  # CronSim takes six, with seconds first: a floor holds for whole minutes
            raise SettingsError(f"floor: cron={self.cron!r}: {len(cron.parts)} fields; {_FORM}")


_FORM = "write five fields, as in '* 8-17 * * mon-fri'"


def floor_at(floors: Sequence[Floor], wall: float) -> int:
    """The replicas that the schedule asks for at `wall` (Unix seconds): the most of those that hold, or 0."""
    return _in_minute(tuple(floors), int(wall // 60)) if floors else 0


@lru_cache(maxsize=1024)
def _in_minute(floors: tuple[Floor, ...], minute: int) -> int:
    return max((floor.replicas for floor in floors if _holds(floor, minute)), default=0)


def _holds(floor: Floor, minute: int) -> bool:
    """Whether the expression names this minute as clocks in the zone show it; an hour that comes twice holds twice.

    Its fields are asked, not its next time: cron moves times that a change of the clock leaves out, a floor has no need to.
    """
    this = datetime.fromtimestamp(minute * 60, ZoneInfo(floor.zone))
    cron = CronSim(floor.cron, this)
    return this.minute in cron.minutes and this.hour in cron.hours and this.month in cron.months and cron.match_day(this.date())
