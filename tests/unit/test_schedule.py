"""Floors by the calendar: which minutes hold, in which time zone, and what cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from autoscaler.schedule import Floor, floor_at
from core.errors import SettingsError

OFFICE = Floor("* 8-17 * * mon-fri", 20, "Europe/Berlin")  # UTC+2 in summer


def at(text: str) -> float:
    """Unix seconds of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("utc", "replicas"),
    [
        ("2026-07-01 05:59:59", 0),  # a Wednesday, 07:59:59 in Berlin
        ("2026-07-01 06:00:00", 20),
        ("2026-07-01 15:59:59", 20),
        ("2026-07-01 16:00:00", 0),  # 18:00
        ("2026-07-04 10:00:00", 0),  # a Saturday
        ("2026-01-07 06:30:00", 0),  # in winter 07:30
        ("2026-01-07 07:00:00", 20),
    ],
)
def test_a_floor_holds_in_the_minutes_of_its_own_zone(utc: str, replicas: int) -> None:
    assert floor_at((OFFICE,), at(utc)) == replicas


def test_the_most_of_the_floors_that_hold() -> None:
    floors = (OFFICE, Floor("* * * * *", 3), Floor("* * 1 * *", 7))
    assert [floor_at(floors, at(f"2026-07-{day} 10:00")) for day in ("01", "02", "04")] == [20, 20, 3]
    assert floor_at(floors, at("2026-07-01 20:00")) == 7
    assert floor_at((), at("2026-07-01 10:00")) == 0


@pytest.mark.parametrize("cron", ["* 2 * * *", "0-59 2 * * *"])  # cron itself treats these two differently
@pytest.mark.parametrize(
    ("utc", "replicas"),
    [
        ("2026-03-29 00:59", 0),  # 01:59 in Berlin; the next minute is 03:00
        ("2026-03-29 01:00", 0),  # 03:00: the hour from 2 to 3 does not exist, and nothing is made up for it
        ("2026-10-24 23:59", 0),  # 01:59
        ("2026-10-25 00:30", 5),  # 02:30
        ("2026-10-25 01:30", 5),  # 02:30 again
        ("2026-10-25 02:00", 0),  # 03:00
    ],
)
def test_days_on_which_the_clock_changes(cron: str, utc: str, replicas: int) -> None:
    assert floor_at((Floor(cron, 5, "Europe/Berlin"),), at(utc)) == replicas


@pytest.mark.parametrize(
    "cron", ["", "@daily", "* * * *", "61 * * * *", "* 8-17 * * nosuchday", "0 * 8-17 * * mon-fri", "0 0 30 2 *"]
)
def test_a_cron_expression_that_cannot_be_read_is_refused_by_name(cron: str) -> None:
    with pytest.raises(SettingsError, match=r"floor: cron=.*five fields"):
        Floor(cron, 1)


@pytest.mark.parametrize("zone", ["", "Mars/Base", "Europe", "../etc/passwd", "/etc/passwd"])
def test_a_zone_that_there_is_not_is_refused_by_name(zone: str) -> None:
    with pytest.raises(SettingsError, match=r"floor: zone=.*not an IANA time zone"):
        Floor("* * * * *", 1, zone)
