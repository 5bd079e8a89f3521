"""The figures learned from one reading to the next, with numbers worked out by hand."""

from __future__ import annotations

from math import exp

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation, Policy, Seen
from autoscaler.state import State, fresh
from autoscaler.view import learn
from autoscaler.window import Rate, Service, Startup, peak_of

POLICY = Policy(drain_target=12.0)  # arrivals are followed within 6 s


def rate_of(*readings: tuple[float, float]) -> Rate:
    """The rate after readings of (value, at)."""
    rate = Rate()
    for value, at in readings:
        rate = rate.next(Figure(value, at), follow=6.0)
    return rate


# A counter's rate.


def test_one_reading_is_no_rate_and_two_are() -> None:
    assert not rate_of((500, 0)).known
    assert rate_of((500, 0), (700, 2)).level == 100


def test_a_rate_follows_its_counter_with_six_seconds() -> None:
    rate = rate_of((0, 0), (200, 2), (600, 4))  # 100/s, then 200/s
    assert rate.level == pytest.approx(100 + (1 - exp(-2 / 6)) * 100)


def test_the_same_reading_again_changes_nothing() -> None:
    rate = rate_of((0, 0), (200, 2))
    assert rate.next(Figure(200, 2)) is rate
    assert rate.next(Figure(150, 1)) is rate
    assert rate.next(UNKNOWN) is rate


def test_two_readings_at_once_are_no_rate() -> None:
    rate = Rate().next(Figure(0, 0)).next(Figure(36, 0.001))
    assert not rate.known
    assert rate.next(Figure(100, 1)).level == 100


def test_a_counter_that_went_back_began_anew() -> None:
    rate = rate_of((0, 0), (200, 2), (30, 4))
    assert (rate.level, rate.total) == (100, 30)
    assert rate.next(Figure(230, 6), follow=6.0).level == pytest.approx(100)


def test_a_counter_that_dips_has_not_begun_anew() -> None:
    """A third of the nodes' statistics is missing for 8 s: that is no burst of a third of all jobs when it comes back."""
    steady = [(10_000.0 + 2 * at, float(at)) for at in range(0, 20, 2)]
    dip = [((10_000.0 + 2 * at) * 2 / 3, float(at)) for at in range(20, 28, 2)]
    again = [(10_000.0 + 2 * at, float(at)) for at in range(28, 40, 2)]
    for readings in (steady, steady + dip, steady + dip + again[:1], steady + dip + again):
        assert rate_of(*readings).level == pytest.approx(2.0, rel=0.35)


def test_a_counter_that_began_anew_and_passes_its_old_value_counts_all() -> None:
    before, after = [(100.0 * at, float(at)) for at in range(5)], [(100.0 * (at - 4), float(at)) for at in range(5, 30)]
    assert rate_of(*before, *after).level == pytest.approx(100.0, rel=0.02)


def test_what_a_counter_rose_to_before_it_fell_is_forgotten() -> None:
    true = [(100.0 + at, float(at)) for at in range(10)]
    rate = rate_of(*true, (1e18, 10.0), (111.0, 11.0), (112.0, 12.0))
    assert rate.level == pytest.approx(1.0)


def test_a_rate_of_rare_events_is_the_mean_of_some() -> None:
    rate = rate_of((0, 0), (2, 1))  # 2/s: the time of 50 is 25 s
    assert rate.next(Figure(6, 2), follow=6.0, events=50.0).level == pytest.approx(2 + (1 - exp(-1 / 25)) * 2)
    assert rate.next(Figure(6, 2), follow=30.0, events=50.0).level == pytest.approx(2 + (1 - exp(-1 / 30)) * 2)


def test_after_a_minute_without_events_rates_know_it() -> None:
    rate = rate_of((0, 0), (1, 10))  # 0.1/s: the time of 50 is longer than a minute
    assert rate.next(Figure(1, 11), follow=6.0, events=50.0).level == pytest.approx(0.1 * exp(-1 / 60))
    assert Rate(0, 0, known=True).next(Figure(0, 1), events=50.0).level == 0


def test_what_chance_does_not_explain_is_followed_at_once() -> None:
    rate = rate_of((0, 0), (4, 1))  # 4/s, with a deviation of 2 in a second
    usual, surge = (rate.next(Figure(4 + more, 2), follow=6.0, events=50.0).level for more in (12, 13))
    assert usual == pytest.approx(4 + (1 - exp(-1 / 12.5)) * 8)
    assert surge == pytest.approx(4 + (1 - exp(-1 / 6)) * 9)


def test_a_forecast_looks_ahead_and_at_most_to_the_double() -> None:
    rising = Rate(0, 0, level=100, trend=5, known=True)
    assert [rising.forecast(lead) for lead in (0, 10, 60)] == [100, 150, 200]
    assert Rate(0, 0, level=100, trend=-5, known=True).forecast(10) == 100  # what falls may rise again
    assert Rate(0, 0, level=-3, known=True).forecast(10) == 0


def test_the_trend_of_a_steady_ramp_is_found() -> None:
    rate = rate_of(*((5 * t * t, t) for t in range(0, 200, 2)))  # 10 more a second, each second
    assert rate.trend == pytest.approx(10, rel=0.01)


# Arrivals, where the broker tells what was published and where it does not.


def learned(*steps: Observation) -> State:
    """The state after these, two seconds apart."""
    state = fresh(0, 30)
    for number, seen in enumerate(steps):
        state = learn(POLICY, state, seen, number * 2.0)
    return state


def told(at: float, published: float | None, completed: float, ready: float = 0, unacked: float = 0) -> Observation:
    known: Seen = UNKNOWN if published is None else Figure(published, at)
    return Observation(
        0, 1, published=known, completed=Figure(completed, at), ready_jobs=Figure(ready, at), unacked=Figure(unacked, at)
    )


def test_arrivals_without_a_counter_are_what_ended_and_what_is_there() -> None:
    state = learned(told(0, None, 100, 10, 5), told(2, None, 160, 40, 15))  # 115, then 215
    assert state.arrivals.level == 50


def test_figures_of_different_ages_make_no_arrivals_of_nothing() -> None:
    steps = [told(2.0 * n, None, 100, 500 - 100 * (n % 2), 0) for n in range(60)]  # 100 jobs go missing, and are back
    assert abs(learned(*steps).arrivals.level) < 10


def test_no_job_is_counted_as_arriving_when_the_broker_stops_or_begins_to_tell() -> None:
    steps = [told(2.0 * n, 1e6 + 20 * n if n % 6 < 3 else None, 20.0 * n, 0, 0) for n in range(60)]
    assert learned(*steps).arrivals.level == pytest.approx(10)


def test_a_consumer_counter_that_began_anew_is_no_negative_arrival() -> None:
    steps = [told(2.0 * n, None, 20.0 * n, 0, 0) for n in range(20)]
    anew = [told(40, None, 0), told(42, None, 20)]
    assert learned(*steps, *anew).arrivals.level == pytest.approx(10)


def test_a_job_between_two_looks_ends_idleness() -> None:
    state = learned(told(0, 7, 7), told(2, 7, 7))._replace(idle_since=0.0)
    assert learn(POLICY, state, told(4, 7, 7), 4).idle_since == 0.0
    assert learn(POLICY, state, told(4, 8, 8), 4).idle_since is None


# How long a job takes.


def served(*readings: tuple[float, float]) -> Service:
    """After readings of (completed, busy seconds), two seconds apart."""
    service = Service()
    for number, (completed, busy) in enumerate(readings):
        at = 2.0 * number
        service = service.next(Figure(completed, at), Figure(busy, at))
    return service


def test_the_prior_counts_as_twenty_jobs() -> None:
    assert served().mean(0.1) == 0.1
    assert served((0, 0), (20, 6)).mean(0.1) == pytest.approx((6 + 20 * 0.1) / 40)


def test_a_job_time_converges_to_what_is_seen() -> None:
    assert served(*((100 * n, 30.0 * n) for n in range(60))).mean(0.1) == pytest.approx(0.3, rel=0.01)


def test_a_job_time_is_a_hundredth_of_the_guess_at_least_and_a_day_at_most() -> None:
    assert served((0, 0), (1e9, 1e-3)).mean(0.1) == pytest.approx(0.001)
    assert served((0, 0), (1, 1e9)).mean(0.1) == 86_400.0


def test_three_long_jobs_count_for_more_than_the_guess() -> None:
    assert served((0, 0), (3, 1800)).mean(0.1) == pytest.approx(600, rel=0.1)


def test_jobs_teach_before_the_first_of_them_ends() -> None:
    running = served((0, 0), (0, 32 * 2), (0, 32 * 4))
    assert running.mean(0.1, 32.0) == 4.0
    assert running.mean(0.1, UNKNOWN) == 0.1
    ended = served((0, 0), (0, 32 * 2), (32, 32 * 4))
    assert ended.open == 0.0
    assert ended.mean(0.1, 32.0) == ended.mean(0.1)


def test_nothing_is_learned_from_nothing_and_nothing_forgotten() -> None:
    known = served((0, 0), (100, 30))
    idle = known.next(Figure(100, 500), Figure(30, 500))
    assert (idle.jobs, idle.seconds) == (100, 30)
    assert known.next(UNKNOWN, Figure(40, 4)) is known
    assert known.next(Figure(110, 4), UNKNOWN) is known
    assert known.next(Figure(200, 4), Figure(30, 4)).mean(0.1) == known.mean(0.1)  # their seconds are still to come


def test_counters_that_began_anew_are_a_new_base() -> None:
    anew = served((0, 0), (100, 30), (10, 3))
    assert (anew.jobs, anew.seconds) == (100, 30)
    assert anew.completed == Figure(10, 4)


def test_long_jobs_count_whole_and_not_only_in_the_look_they_end_in() -> None:
    readings = [(n // 3, 20.0 * n) for n in range(600)]  # ten handlers, always busy with jobs of a minute: one ends every 6 s
    assert served(*readings).mean(60.0) == pytest.approx(60, rel=0.01)


# How long a replica takes.


def started(*steps: tuple[float, int, float]) -> Startup:
    """After steps of (now, asked, ready)."""
    startup = Startup()
    for now, asked, ready in steps:
        startup = startup.next(asked, Figure(ready, now), now, 7.0)
    return startup


def test_a_start_is_from_asked_to_ready() -> None:
    assert started((0, 2, 2), (10, 5, 2), (14, 5, 4), (18, 5, 5)).expected(5) == 8


def test_what_was_asked_for_before_the_first_look_tells_nothing() -> None:
    assert started((0, 5, 2), (30, 5, 5)).expected(7) == 7


def test_replicas_that_were_ready_and_are_not_are_not_starting() -> None:
    assert started((0, 4, 4), (10, 4, 0), (700, 4, 4)).expected(5) == 5
    assert started((0, 4, 4), (10, 8, 4), (12, 8, 2), (700, 8, 8)).expected(5) == 5


def test_a_start_that_takes_longer_than_any_should_teaches_a_bound_or_nothing() -> None:
    assert started((0, 2, 2), (10, 5, 2), (110, 5, 5)).expected(7) == 70
    assert started((0, 2, 2), (10, 5, 2), (140, 5, 5)).expected(7) == 7, "nobody had an image, or a node"
    asked = started((0, 2, 2), (10, 5, 2))
    stuck = asked.next(5, Figure(2, 12), 12.0, 7.0, stuck=True)
    assert stuck.next(5, Figure(5, 20), 20.0, 7.0).expected(7) == 7


def test_later_starts_count_a_third() -> None:
    twice = ((0, 2, 2), (10, 5, 2), (18, 5, 5), (30, 6, 5), (48, 6, 6))  # 8 s, then 18 s
    assert started(*twice).expected(5) == pytest.approx(8 + 0.3 * 10)


def test_asking_for_more_meanwhile_does_not_make_the_first_late() -> None:
    assert started((-1, 2, 2), (0, 5, 2), (4, 9, 5)).expected(1) == 4


def test_a_start_that_was_given_up_teaches_nothing() -> None:
    assert started((-1, 2, 2), (0, 5, 2), (300, 2, 2)).expected(7) == 7
    assert started((-1, 2, 2), (0, 5, 2), (4, 3, 2), (8, 3, 3)).expected(7) == 7


def test_start_up_has_bounds_and_a_prior() -> None:
    assert Startup().expected(5) == 5
    assert Startup(900).expected(5) == 50
    assert Startup(3).next(4, UNKNOWN, 0, 5.0) == Startup(3)


# The most that was wanted of late.


def test_the_peak_is_of_the_window_alone() -> None:
    peak, peaks = peak_of((), 9, 0, 30)
    for now, wanted, most in [(10, 4, 9), (20, 6, 9), (29, 2, 9), (31, 2, 6), (51, 1, 2)]:
        peak, peaks = peak_of(peaks, wanted, now, 30)
        assert peak == most, now
    assert peaks == ((31, 2), (51, 1))  # only what can still be the most


def test_no_window_has_no_memory() -> None:
    assert peak_of(((0, 9),), 3, 1, 0) == (3, ((1, 3),))
