"""How long what runs may still last, as consumers tell it."""

from __future__ import annotations

import pytest

from core.lasting import Lasting


def known(*took: float, job_type: str = "a") -> Lasting:
    """The state after jobs that took the given numbers of seconds, one after the other."""
    lasting, now = Lasting(), 0.0
    for seconds in took:
        run = object()
        lasting.begin(run, now, job_type, 60.0)
        now += seconds
        lasting.end(run, now)
    return lasting


def test_nothing_that_runs_lasts_no_time() -> None:
    assert known().seconds(5.0) == 0.0
    assert known(9.0, 9.0).seconds(100.0) == 0.0


def test_until_its_like_are_known_it_may_last_up_to_its_limit() -> None:
    lasting = known(*[0.1] * 4)
    lasting.begin("run", 100.0, "a", 60.0)
    assert lasting.seconds(100.0) == 60.0
    assert lasting.seconds(145.0) == 15.0
    assert lasting.seconds(200.0) == 100.0, "past its limit: a plain function, which cannot be broken off"


def test_then_as_long_as_its_like_do() -> None:
    lasting = known(*[10.0] * 60)
    lasting.begin("run", 1000.0, "a", 60.0)
    assert lasting.seconds(1000.0) == pytest.approx(10.0, rel=0.01)
    assert lasting.seconds(1004.0) == pytest.approx(6.0, rel=0.02)
    lasting.begin("other", 1000.0, "b", 60.0)
    assert lasting.seconds(1004.0) == 56.0, "another type is another matter"


def test_where_its_like_differ_as_long_as_nearly_all_of_them() -> None:
    lasting = known(*[5.0, 15.0] * 50)
    lasting.begin("run", 1000.0, "a", 60.0)
    assert 15.0 < lasting.seconds(1000.0) < 40.0


def test_one_in_a_hundred_that_takes_much_longer_is_remembered() -> None:
    lasting = known(*[0.1] * 50, 50.0, *[0.1] * 60)
    lasting.begin("run", 1000.0, "a", 60.0)
    assert lasting.seconds(1000.0) == pytest.approx(50.0 * 0.99**60, rel=0.01)


def test_a_job_that_fails_teaches_nothing() -> None:
    lasting = known(*[30.0] * 20)
    for n in range(50):
        lasting.begin(n, 1000.0, "a", 60.0)
        lasting.end(n, 1000.01, well=False)
    lasting.begin("run", 1001.0, "a", 60.0)
    assert lasting.seconds(1001.0) == pytest.approx(30.0, rel=0.05)


def test_one_that_is_older_than_its_like_may_last_as_long_again() -> None:
    lasting = known(*[0.1] * 100)
    lasting.begin("run", 1000.0, "a", 60.0)
    assert lasting.seconds(1010.0) == 10.0
    assert lasting.seconds(1040.0) == 20.0, "and no longer than its limit"
