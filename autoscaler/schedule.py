"""Floors by the calendar: so many replicas at least, in every minute that a cron expression matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobs.errors import SettingsError


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
            CronSim(self.cron, datetime(2026, 1, 1, tzinfo=ZoneInfo(self.zone)))
        except CronSimError as error:
            raise SettingsError(f"floor: cron={self.cron!r}: {error}; write five fields, as in '* 8-17 * * mon-fri'") from None
        except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError of its own
            raise SettingsError(f"floor: zone={self.zone!r} is no IANA time zone") from None
        except KeyError:
            raise SettingsError(f"floor: zone={self.zone!r} is no IANA time zone") from None


def floor_at(floors: Sequence[Floor], wall: float) -> int:
    """The replicas that the schedule asks for at `wall` (Unix seconds): the most of those that hold, or 0."""
    return _in_minute(tuple(floors), int(wall // 60)) if floors else 0


@lru_cache(maxsize=1024)
def _in_minute(floors: tuple[Floor, ...], minute: int) -> int:
    return max((floor.replicas for floor in floors if _holds(floor, minute)), default=0)


def _holds(floor: Floor, minute: int) -> bool:
    """Whether this very minute is one that the expression names: the first one after the minute before is this one."""
    this = datetime.fromtimestamp(minute * 60, ZoneInfo(floor.zone))
    before = datetime.fromtimestamp(minute * 60 - 60, ZoneInfo(floor.zone))
    return next(CronSim(floor.cron, before)) == this
