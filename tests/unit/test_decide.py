"""Decisions and their reasons: small scenes with numbers that can be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from autoscaler.decide import decide
from autoscaler.model import UNKNOWN, Alert, AlertKind, Decision, Figure, Observation, Pause, Policy, Reason
from autoscaler.schedule import Floor
from autoscaler.starting import Starting
from autoscaler.state import NEVER, Guard, State, fresh, restored, saved
from autoscaler.window import Rate, Service, Startup
from core.errors import SettingsError

NOW = 1000.0
WALL = 1_782_900_000.0  # Wednesday 2026-07-01 10:00 UTC

# A replica does 10 jobs/s when it is busy, 8 jobs/s at 80 %. The backlog is to be gone in 10 s: 80 jobs a replica.
POLICY = Policy(
    min_replicas=0,
    max_replicas=50,
    concurrency=1,
    service_seconds=0.1,
    drain_target=10,
    slack_seconds=0,
    tolerance=0.1,
    utilisation=0.8,
    down_window=30,
    down_cooldown=5,
)

FIGURES = (
    "running",
    "ready",
    "ready_jobs",
    "unacked",
    "published",
    "completed",
    "in_flight",
    "busy_seconds",
    "wait_mean",
    "handler_mean",
    "takeable",
    "paused",
)


def seen(asked: int, backlog: float = 0, *, now: float = NOW, **other: Any) -> Observation:
    """An observation in which all of `asked` are ready and nothing is at consumers; figures are of `now`."""
    figures: dict[str, Any] = {"ready": asked, "ready_jobs": backlog, "unacked": 0, "in_flight": 0, "completed": 0, **other}
    figures |= {name: Figure(figures[name], now) for name in FIGURES if isinstance(figures.get(name), int | float)}
    return Observation(WALL + now - NOW, asked, **figures)


def knowing(arrivals: float = 0.0, **other: Any) -> State:
    """The state of a controller that has run for long: arrivals (jobs/s) are known, and nothing holds it back."""
    known = Rate(0.0, NOW, arrivals, 0.0, known=True)
    return State(NEVER, arrivals=known, derived=True, **other)


def decided(observation: Observation, state: State | None = None, policy: Policy = POLICY) -> tuple[int, Reason]:
    decision, _ = decide(policy, state or knowing(), observation, NOW)
    return decision.replicas, decision.reason


def told(observation: Observation, state: State | None = None, policy: Policy = POLICY) -> dict[AlertKind, Alert]:
    """The alerts."""
    decision, _ = decide(policy, state or knowing(), observation, NOW)
    return {alert.kind: alert for alert in decision.alerts}


# The formula.


@pytest.mark.parametrize(
    ("arrivals", "backlog", "wanted"),
    [
        (0, 801, 11),  # 801 / 10 s / 8 = 10.01
        (0, 800, 10),
        (160, 0, 20),  # 160 / 8
        (160, 80, 21),  # (160 + 8) / 8
        (300, 0, 38),
    ],
)
def test_the_formula(arrivals: float, backlog: float, wanted: int) -> None:
    assert decided(seen(2, backlog), knowing(arrivals)) == (wanted, Reason.BACKLOG)


def test_slack_is_no_backlog() -> None:
    slack = replace(POLICY, slack_seconds=0.5)
    assert decided(seen(20, 80), knowing(160), slack) == (20, Reason.STEADY)  # 160/s x 0.5 s
    assert decided(seen(2, 240), knowing(160), slack)[0] == 22  # (160 + 160 / 10) / 8


def test_jobs_in_handlers_do_not_wait_and_those_taken_ahead_do() -> None:
    assert decided(seen(2, 0, unacked=20, in_flight=20)) == (1, Reason.SURPLUS)
    assert decided(seen(2, 0, unacked=792, in_flight=2)) == (10, Reason.BACKLOG)
    assert decided(seen(2, 0, unacked=802, in_flight=UNKNOWN)) == (10, Reason.BACKLOG)  # two replicas hold two jobs


def test_a_learned_speed_is_used() -> None:
    slow = knowing(service=Service(None, None, 1e6, 2e5))  # 0.2 s a job: 5 jobs/s, 4 at 80 %
    assert decided(seen(2, 800), slow)[0] == 20


def test_a_forecast_reaches_as_far_as_a_start() -> None:
    rising = knowing()._replace(arrivals=Rate(0, NOW, 80, 8, known=True))
    assert decided(seen(2), rising, replace(POLICY, startup_seconds=5))[0] == 15  # (80 + 5 x 8) / 8
    assert decided(seen(2), rising._replace(startup=Startup(2)), POLICY)[0] == 12  # (80 + 2 x 8) / 8


@pytest.mark.parametrize(
    ("asked", "expected"), [(9, Reason.BACKLOG), (10, Reason.STEADY), (11, Reason.STEADY), (12, Reason.SURPLUS)]
)
def test_a_little_off_is_no_reason_to_change(asked: int, expected: Reason) -> None:
    """10 are wanted: more than 9 x 1.1, and 11 with the tolerance."""
    assert decided(seen(asked), knowing(80))[1] is expected


def test_a_little_more_is_not_asked_for() -> None:
    assert decided(seen(20), knowing(168)) == (20, Reason.STEADY)  # 21 are wanted: within 20 x 1.1


def test_steps_up_are_limited() -> None:
    small = replace(POLICY, step_up=2, step_up_replicas=3)
    assert decided(seen(2, 4000), policy=small) == (5, Reason.STEP)
    assert decided(seen(8, 4000), policy=small) == (16, Reason.STEP)


def test_never_above_the_maximum_nor_below_the_minimum() -> None:
    assert decided(seen(2, 8000)) == (50, Reason.AT_MAX)
    assert AlertKind.AT_MAX in told(seen(50, 8000))
    assert decided(seen(1), policy=replace(POLICY, min_replicas=3)) == (3, Reason.AT_MIN)
    assert decided(seen(70), knowing(900)) == (50, Reason.AT_MAX)


# Fewer.


def test_a_step_down_halves_what_runs_and_goes_no_lower_than_the_window() -> None:
    assert decided(seen(20)) == (10, Reason.SURPLUS)
    assert decided(seen(20), knowing(peaks=((NOW - 20, 14),))) == (14, Reason.SURPLUS)
    assert decided(seen(2)) == (1, Reason.SURPLUS)


def test_fewer_must_have_been_wanted_for_the_whole_window() -> None:
    assert decided(seen(20), knowing(peaks=((NOW - 29, 20),))) == (20, Reason.WINDOW)
    assert decided(seen(20), knowing(peaks=((NOW - 31, 20),))) == (10, Reason.SURPLUS)


def test_what_a_rule_has_added_stays_for_the_whole_window() -> None:
    assert decided(seen(20), knowing(step_at=NOW - 29)) == (20, Reason.WINDOW)
    assert decided(seen(20), knowing(step_at=NOW - 30)) == (10, Reason.SURPLUS)


def test_steps_down_are_apart() -> None:
    assert decided(seen(20), knowing(down_at=NOW - 4)) == (20, Reason.COOLDOWN)
    assert decided(seen(20), knowing(down_at=NOW - 5)) == (10, Reason.SURPLUS)


def test_a_step_down_is_remembered() -> None:
    _, state = decide(POLICY, knowing(), seen(20), NOW)
    assert state.down_at == NOW
    _, state = decide(POLICY, knowing(), seen(1), NOW)
    assert state.down_at == NEVER


def life(
    policy: Policy, state: State, *, until: float, asked: int, start: float = NOW, **figures: Any
) -> list[tuple[float, Decision, State]]:
    """Decisions every 2 s that are carried out at once, with nothing in the queue unless given otherwise."""
    record, now = [], start
    while now <= until:
        decision, state = decide(policy, state, seen(asked, now=now, **figures), now)
        record.append((now, decision, state))
        asked, now = decision.replicas, now + 2
    return record


def first_below(record: list[tuple[float, Decision, State]], asked: int) -> float:
    return next(now for now, decision, _ in record if decision.replicas < asked)


def test_nothing_is_taken_away_in_the_first_window() -> None:
    record = life(POLICY, fresh(NOW, 30), until=NOW + 60, asked=8)
    assert NOW + 30 <= first_below(record, 8) <= NOW + 34
    assert Reason.SETTLING in {decision.reason for _, decision, _ in record}


def test_idleness_does_not_end_the_first_window_early() -> None:
    record = life(replace(POLICY, idle_seconds=4), fresh(NOW, 30), until=NOW + 60, asked=1)
    assert NOW + 30 <= first_below(record, 1) <= NOW + 34


def test_a_restored_state_takes_nothing_away_before_a_window_was_seen() -> None:
    kept = saved(knowing(idle_since=NOW - 500), NOW)
    record = life(POLICY, restored(kept, NOW, away=600), until=NOW + 60, asked=8)
    assert NOW + 30 <= first_below(record, 8) <= NOW + 34


@pytest.mark.parametrize("hidden", [{"ready_jobs": UNKNOWN}, {"unacked": UNKNOWN}, {"completed": UNKNOWN}, {"pause": Pause.IN}])
def test_time_in_which_nobody_could_see_is_no_evidence_for_fewer(hidden: dict[str, Any]) -> None:
    busy = replace(POLICY, min_replicas=1)  # idleness is another matter
    long_ago = knowing()._replace(arrivals=Rate(0, NOW - 16, 0, 0, known=True))
    dark = life(busy, long_ago, until=NOW + 40, asked=8, **hidden)
    assert {decision.replicas for _, decision, _ in dark} == {8}
    after = life(busy, dark[-1][2], until=NOW + 100, asked=8, start=NOW + 42)
    least = NOW + 42 if "pause" in hidden else NOW + 68
    assert least <= first_below(after, 8) <= NOW + 76


# The state that is kept over a restart.

KEPT = State(
    settled_at=NOW + 12,
    service=Service(None, None, 300, 60),
    startup=Startup(7),
    peaks=((NOW - 9, 8), (NOW - 2, 4)),
    down_at=NOW - 3,
    idle_since=NOW - 40,
    saturated_until=NOW + 50,
    saturated_at=3,
    saturations=2,
)


def test_a_state_comes_back_by_another_clock() -> None:
    kept = json.loads(json.dumps(saved(KEPT, NOW)))
    back = restored(kept, 77.0, away=2.0)
    assert back == State(
        settled_at=77 + 10,
        service=Service(None, None, 300, 60),
        startup=Startup(7),
        peaks=((77 - 11, 8), (77 - 4, 4)),
        down_at=77 - 5,
        idle_since=77 - 42,
        saturated_until=77 + 48,
        saturated_at=3,
        saturations=2,
    )


def test_a_state_of_a_release_that_did_not_say_what_to_step_back_to() -> None:
    kept = {name: value for name, value in saved(KEPT, NOW).items() if not name.startswith("saturat")}
    state = restored(kept | {"saturated_for": 50.0}, NOW, 0.0)
    known = state._replace(settled_at=NEVER, arrivals=Rate(0, NOW, 0, 0, known=True))
    assert decided(seen(20, 8000), known) == (50, Reason.AT_MAX)


def test_idleness_is_not_carried_over_a_long_absence() -> None:
    assert restored(saved(KEPT, NOW), 77.0, away=31).idle_since is None


@pytest.mark.parametrize(
    "garbage",
    [
        {"service": [1]},
        {"service": [1, float("nan")]},
        {"service": None},
        {"startup": "soon"},
        {"startup": float("inf")},
        {"startup": -1},
        {"peaks": [[1]]},
        {"peaks": [[1, float("inf")]]},
        {"down_age": []},
        {"settles_in": None},
    ],
)
def test_garbage_is_refused(garbage: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        restored({**saved(KEPT, NOW), **garbage}, NOW, 0)


def test_what_is_missing_is_refused() -> None:
    with pytest.raises(KeyError):
        restored({}, NOW, 0)


# From 0 and to 0.


def test_from_zero_in_one_tick() -> None:
    assert decided(seen(0, 1)) == (1, Reason.WAKE)
    assert decided(seen(0, 800)) == (10, Reason.WAKE)
    assert decided(seen(0, 1, unacked=UNKNOWN), fresh(NOW, 30)) == (1, Reason.WAKE)
    assert decided(seen(0)) == (0, Reason.STEADY)


IDLE = knowing(idle_since=NOW - 60)


def test_to_zero_when_nothing_is_there_for_the_idle_time() -> None:
    assert decided(seen(9), IDLE) == (0, Reason.IDLE)
    assert decided(seen(9), knowing(idle_since=NOW - 59))[0] > 0
    assert decided(seen(9), IDLE, replace(POLICY, min_replicas=1))[0] > 0


@pytest.mark.parametrize("name", ["ready_jobs", "unacked", "in_flight"])
@pytest.mark.parametrize("value", [1, UNKNOWN, Figure(0, NOW - 16)], ids=["one", "unknown", "stale"])
def test_never_to_zero_when_one_of_them_is_not_surely_nothing(name: str, value: Any) -> None:
    decision, state = decide(POLICY, IDLE, seen(1, **{name: value}), NOW)
    assert decision.replicas == 1
    assert state.idle_since is None


def test_a_trickle_of_fast_jobs_is_not_idle() -> None:
    """Each look finds the queue empty, and a job has come and gone in between."""
    state = knowing()
    for tick in range(100):
        now = NOW + 2 * tick
        decision, state = decide(POLICY, state, seen(1, now=now, completed=tick), now)
        assert decision.replicas == 1, tick


# The threshold rules.

# 400 replicas are enough for the formula: 20,000 / 200 s / 0.25 = 400. The backlog was the same at the last poll.
SLOW = replace(POLICY, max_replicas=2000, drain_target=200, service_seconds=3.2)
STUCK = knowing(backlog=20_000, backlog_at=NOW - 2)


def test_a_backlog_above_the_threshold_is_always_told() -> None:
    assert "20,000 is above 10,000" in told(seen(2, 20_000), policy=SLOW)[AlertKind.BACKLOG].text
    assert AlertKind.BACKLOG not in told(seen(2, 10_000), policy=SLOW)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (500, Reason.BACKLOG_THRESHOLD)),  # a quarter more
        ({"backlog": 20_001}, (400, Reason.STEADY)),  # it falls
        ({"backlog_at": NOW}, (400, Reason.STEADY)),  # the same reading again says nothing
        ({"backlog_at": NEVER}, (400, Reason.STEADY)),  # nor does the first
        ({"step_at": NOW - 14}, (400, Reason.STEADY)),  # the last step was just now
        ({"step_at": NOW - 16}, (500, Reason.BACKLOG_THRESHOLD)),
        ({"step_at": NOW - 16, "startup": Startup(20)}, (400, Reason.STEADY)),  # and is still starting
    ],
)
def test_a_backlog_that_does_not_fall_adds_a_quarter(changed: dict[str, Any], expected: tuple[int, Reason]) -> None:
    assert decided(seen(400, 20_000), STUCK._replace(**changed), SLOW) == expected


def test_a_backlog_at_the_threshold_adds_nothing_and_a_step_is_one_at_least() -> None:
    low = replace(POLICY, backlog_threshold=10, drain_target=100)
    assert decided(seen(1, 10), knowing(backlog_at=NOW - 2), low) == (1, Reason.STEADY)
    assert decided(seen(1, 11), knowing(backlog_at=NOW - 2), low) == (2, Reason.BACKLOG_THRESHOLD)


def test_the_formula_goes_first_where_it_asks_for_more() -> None:
    assert decided(seen(100, 20_000), STUCK, SLOW) == (400, Reason.BACKLOG)
    assert decided(seen(360, 20_000), STUCK, SLOW) == (450, Reason.BACKLOG_THRESHOLD)  # 400 by the formula: never fewer for more


def test_every_growth_starts_the_cooldown_also_one_that_a_limit_cut() -> None:
    cut = replace(SLOW, step_up=1, step_up_replicas=1)
    decision, state = decide(cut, STUCK, seen(400, 20_000), NOW)
    assert (decision.replicas, decision.reason, state.step_at) == (401, Reason.STEP, NOW)


def test_a_wait_of_the_past_adds_nothing_where_no_more_waits_than_the_slack() -> None:
    policy, state = replace(POLICY, slack_seconds=0.5), knowing(arrivals=16.0, backlog_at=NOW - 2)
    late = {"wait_mean": 9.0, "handler_mean": 0.1}
    assert decided(seen(2, 8, **late), state, policy) == (2, Reason.STEADY)
    assert decided(seen(2, 9, **late), state, policy) == (3, Reason.LATENCY_THRESHOLD)


@pytest.mark.parametrize(
    ("wait", "handler", "expected", "slower"),
    [
        (5.0, 0.1, Reason.LATENCY_THRESHOLD, "waiting is what is slow"),
        (0.1, 5.0, Reason.STEADY, "the handler is what is slow"),
        (4.9, 0.1, Reason.STEADY, None),
        (9.0, UNKNOWN, Reason.STEADY, None),
    ],
)
def test_latency_above_the_threshold(wait: float, handler: Any, expected: Reason, slower: str | None) -> None:
    observation = seen(2, 100, wait_mean=wait, handler_mean=handler, slow_trace="4bf92f35")
    state = knowing(backlog=100, backlog_at=NOW - 2)
    assert decided(observation, state) == (3 if expected is Reason.LATENCY_THRESHOLD else 2, expected)
    alert = told(observation, state).get(AlertKind.LATENCY)
    if slower is None:
        assert alert is None
    else:
        assert alert is not None
        assert alert.text.startswith("mean latency 5.1 s is above 5 s")
        assert alert.text.endswith(slower)
        assert alert.trace_id == "4bf92f35"


# No progress.


def growth(
    throughput: float, *, replicas: int = 10, seconds: int = 60, base: float = 10.0, **figures: Any
) -> tuple[Decision, State]:
    """One replica does `base` jobs/s, many wait, more are asked for, and from then on all of them do `throughput`."""
    state = knowing(base, completions=Rate(0, NOW, base, 0, known=True))
    decision, state = decide(POLICY, state, seen(1, 5000), NOW)
    assert decision.replicas == 50
    for step in range(1, seconds // 2):
        now = NOW + 2 * step
        # Jobs that end come back as new work: the queue stays as it is.
        observation = seen(replicas, 5000, now=now, **{"completed": throughput * 2 * step, **figures})
        decision, state = decide(POLICY, state, observation, now)
    return decision, state


def test_replicas_that_bring_nothing_are_no_longer_added() -> None:
    decision, state = growth(11.0)
    assert (decision.replicas, decision.reason) == (10, Reason.NO_PROGRESS)
    alert = next(alert for alert in decision.alerts if alert.kind is AlertKind.SATURATED)
    assert alert.text == "downstream saturated: 1 → 10 replicas brought 10.0 → 11.0 jobs/s"
    assert state.saturated_until > NOW


@pytest.mark.parametrize("throughput", [100.0, 40.0])
def test_replicas_that_bring_something_go_on(throughput: float) -> None:
    assert growth(throughput)[0].reason in (Reason.AT_MAX, Reason.BACKLOG)


def test_a_poisoned_queue_is_held() -> None:
    assert growth(0.0, base=0.0)[0].reason is Reason.NO_PROGRESS


def test_jobs_that_fail_and_come_again_are_no_progress() -> None:
    """Throughput is what is done for good: retries complete, and bring nothing."""
    retrying = Rate(0, NOW, 500, 0, known=True)
    for done, held in ((Rate(0, NOW, 0, 0, known=True), True), (Rate(0, NOW, 500, 0, known=True), False)):
        guard = Guard(ready=10, throughput=0, grown_at=NOW - 30, grown=20.0 * 14, looks=14)
        state = knowing(20, guard=guard, completions=retrying, progress=done)
        _, state = decide(POLICY, state, seen(20, 5000), NOW)
        assert (state.saturated_until > NOW) is held


def test_from_nothing_to_something_is_progress_by_any_number_of_replicas() -> None:
    assert growth(300.0, base=0.0, replicas=40)[0].reason is not Reason.NO_PROGRESS


@pytest.mark.parametrize("completed", [UNKNOWN, Figure(0, NOW)], ids=["unknown", "stale"])
def test_a_throughput_that_nobody_knows_is_not_nothing(completed: Any) -> None:
    assert growth(0.0, published=0, completed=completed)[0].reason is not Reason.NO_PROGRESS


JUDGED = Guard(ready=10, throughput=100, grown_at=NOW - 30, grown=13.0 * 14, looks=14)  # some 13 were ready, 100 are now


def test_replicas_that_came_just_now_have_had_no_time() -> None:
    state = knowing(100, guard=JUDGED, completions=Rate(0, NOW, 200, 0, known=True))
    _, state = decide(POLICY, state, seen(100, 5000), NOW)
    assert state.guard is None
    assert state.saturated_until == NEVER


def test_jobs_longer_than_the_guard_get_their_time() -> None:
    minutes = replace(POLICY, service_seconds=60)
    state = knowing(guard=JUDGED, completions=Rate(0, NOW, 0, 0, known=True))
    assert decide(minutes, state, seen(20, 5000), NOW)[1].guard is not None
    assert decide(POLICY, state, seen(20, 5000), NOW)[1].saturated_until == NOW + 120


SATURATED = knowing(saturated_until=NOW + 1, saturated_at=2, saturations=1)


def test_it_is_tried_again() -> None:
    """A step at a time, each judged; and after a pause that doubles each time it is found again."""
    assert decided(seen(2, 800), SATURATED) == (2, Reason.NO_PROGRESS)
    again = SATURATED._replace(saturated_until=NOW)
    assert decided(seen(2, 800), again) == (3, Reason.BACKLOG)
    assert decided(seen(3, 800), again._replace(guard=Guard(2, 10.0))) == (3, Reason.NO_PROGRESS)
    assert decided(seen(2, 800), again._replace(saturations=0)) == (10, Reason.BACKLOG)
    for times, pause in ((0, 120.0), (1, 240.0), (9, 120.0 * 16)):
        judged = knowing(guard=JUDGED, completions=Rate(0, NOW, 100, 0, known=True), saturations=times)
        assert decide(POLICY, judged, seen(20, 5000), NOW)[1].saturated_until == NOW + pause


def after(state: State, asked: int, throughput: float, seconds: int = 32) -> tuple[Decision, State]:
    """The decision `seconds` later, in which all `asked` were ready and did `throughput` jobs/s, and 8,000 jobs waited."""
    began = state.completions.at
    for second in range(1, seconds):
        rate = Rate(0.0, began + second, throughput, 0.0, known=True)
        now = began + second
        state = state._replace(completions=rate, arrivals=Rate(0.0, now, 60.0, 0.0, known=True))
        decision, state = decide(POLICY, state, seen(asked, 8000, now=now, completed=UNKNOWN), now)
        if decision.replicas != asked:
            break
    return decision, state


THOUGHT = knowing(60)._replace(
    saturated_until=NOW + 1000, saturated_at=5, saturations=1, completions=Rate(0, NOW, 60, 0, known=True)
)


def test_it_steps_back_by_halves_as_long_as_that_costs_nothing() -> None:
    decision, state = after(THOUGHT, 40, 60.0)
    assert (decision.replicas, decision.reason) == (20, Reason.NO_PROGRESS)
    decision, state = after(state, 20, 60.0, 25)
    assert decision.replicas == 20
    decision, state = after(state, 20, 60.0)
    assert decision.replicas == 10
    decision, state = after(state, 10, 30.0)
    assert (decision.replicas, decision.reason) == (20, Reason.BACKLOG), "one step too far"
    for _ in range(5):
        decision, state = after(state, 20, 60.0)
        assert (decision.replicas, decision.reason) == (20, Reason.NO_PROGRESS)


def test_where_the_first_step_back_costs_throughput_the_verdict_was_wrong() -> None:
    """Jobs have become longer: fewer end a second, whatever the replicas."""
    decision, state = after(THOUGHT, 40, 60.0)
    decision, state = after(state, 20, 30.0)
    assert (decision.replicas, decision.reason) == (50, Reason.AT_MAX)
    decision, state = after(state, 50, 60.0, 200)
    assert decision.reason is Reason.AT_MAX, "and none is given again"
    _, state = decide(POLICY, state, seen(50, 0, now=state.completions.at), state.completions.at)
    assert not state.immune


def test_growth_that_never_came_is_not_waited_for_to_be_judged() -> None:
    """A patch that was refused: as long as its guard stood, no other step would be tried."""
    state = knowing(60, saturations=1, completions=Rate(0, NOW, 60, 0, known=True))
    _, state = after(state, 10, 60.0, 2)
    assert state.guard is not None
    decision, state = after(state, 10, 60.0, 60)
    assert decision.replicas == 12


def test_it_takes_nothing_away_for_want_of_progress_where_it_would_not_otherwise() -> None:
    assert decided(seen(20, 8000), THOUGHT._replace(settled_at=NOW + 1)) == (20, Reason.NO_PROGRESS)
    assert decided(seen(20, 8000, unacked=UNKNOWN), THOUGHT) == (20, Reason.NO_PROGRESS)
    assert decided(seen(20, 8000), THOUGHT._replace(arrivals=Rate())) == (20, Reason.NO_PROGRESS)
    assert decided(seen(20, 8000), THOUGHT._replace(down_at=NOW - 1)) == (20, Reason.NO_PROGRESS)


def test_what_would_be_broken_off_is_not_stepped_back_from() -> None:
    assert decided(seen(20, 8000, takeable=4), SATURATED) == (16, Reason.NO_PROGRESS)


def test_the_hold_ends_when_work_runs_out() -> None:
    _, state = decide(POLICY, SATURATED, seen(2, 0), NOW)
    assert state.saturated_until == NEVER
    _, state = decide(POLICY, SATURATED, seen(2, 1), NOW)
    assert state.saturated_until == NOW + 1


def test_slack_is_no_work_that_could_prove_anything() -> None:
    state = knowing(160)._replace(saturated_until=NOW + 1)
    _, state = decide(replace(POLICY, slack_seconds=0.5), state, seen(20, 80), NOW)  # 160/s x 0.5 s
    assert state.saturated_until == NEVER


def test_a_hold_keeps_no_floor_down_and_no_surplus_up() -> None:
    assert decided(seen(2, 800), SATURATED, replace(POLICY, min_replicas=4)) == (4, Reason.AT_MIN)
    assert decided(seen(20, 80), SATURATED)[0] == 10


# Blind.


@pytest.mark.parametrize("figure", [UNKNOWN, Figure(800, NOW - 16)], ids=["unknown", "stale"])
def test_blind_holds_and_then_falls_back_upward_only(figure: Any) -> None:
    policy = replace(POLICY, fallback_replicas=6)
    dark = seen(2, ready_jobs=figure)
    assert decided(dark, policy=policy) == (2, Reason.BLIND)
    assert decided(dark, knowing(blind_since=NOW - 60), policy) == (2, Reason.BLIND)
    assert decided(dark, knowing(blind_since=NOW - 61), policy) == (6, Reason.FALLBACK)
    assert decided(replace(dark, asked=9), knowing(blind_since=NOW - 61), policy) == (9, Reason.FALLBACK)


def test_blindness_is_counted_from_its_first_moment_and_ends_at_once() -> None:
    _, state = decide(POLICY, knowing(), seen(2, ready_jobs=UNKNOWN), NOW)
    assert state.blind_since == NOW
    _, state = decide(POLICY, state, seen(2), NOW + 2)
    assert state.blind_since is None


@pytest.mark.parametrize("pause", list(Pause))
def test_being_blind_for_too_long_is_told_also_while_paused(pause: Pause) -> None:
    dark = seen(2, ready_jobs=UNKNOWN, pause=pause)
    assert AlertKind.BLIND in told(dark, knowing(blind_since=NOW - 61))
    assert AlertKind.BLIND not in told(dark, knowing(blind_since=NOW - 60))


def test_half_blind_grows_and_never_shrinks() -> None:
    assert decided(seen(2, 800, unacked=UNKNOWN)) == (10, Reason.BACKLOG)
    assert decided(seen(20, 8, unacked=UNKNOWN)) == (20, Reason.BLIND)
    assert decided(seen(20, 8), fresh(NOW - 900, 30)) == (20, Reason.BLIND)  # arrivals are not known yet


# The effects of an operator, a schedule and a cluster.


@pytest.mark.parametrize(
    ("pause", "more", "fewer"),
    [
        (Pause.NONE, (10, Reason.BACKLOG), (10, Reason.SURPLUS)),
        (Pause.ALL, (2, Reason.PAUSED), (20, Reason.PAUSED)),
        (Pause.IN, (10, Reason.BACKLOG), (20, Reason.PAUSED)),
        (Pause.OUT, (2, Reason.PAUSED), (10, Reason.SURPLUS)),
    ],
)
def test_pauses(pause: Pause, more: tuple[int, Reason], fewer: tuple[int, Reason]) -> None:
    assert decided(seen(2, 800, pause=pause)) == more
    assert decided(seen(20, pause=pause)) == fewer


def test_pause_all_holds_outside_of_the_bounds_too() -> None:
    assert decided(seen(90, pause=Pause.ALL))[0] == 90
    assert decided(seen(0, pause=Pause.ALL), policy=replace(POLICY, min_replicas=3))[0] == 0


def test_a_floor_of_the_schedule() -> None:
    office = replace(POLICY, floors=(Floor("* 8-17 * * mon-fri", 20, "Europe/Berlin"),))
    assert decided(seen(2), policy=office) == (20, Reason.FLOOR)  # 12:00 in Berlin
    assert decided(seen(20), IDLE, office)[0] == 20
    night = replace(seen(2), wall=WALL + 8 * 3600)
    assert decided(night, policy=office)[0] == 1


def test_replicas_that_cannot_start_are_told_of() -> None:
    assert told(seen(2, unschedulable="quota: pods=10"))[AlertKind.UNSCHEDULABLE].text == "quota: pods=10"


# The policy.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_replicas": 5, "max_replicas": 4}, "min_replicas=5 is above max_replicas=4"),
        ({"min_replicas": -1}, "min_replicas=-1"),
        ({"max_replicas": 2.5}, "max_replicas=2.5 must be a whole number"),
        ({"max_replicas": 0}, "max_replicas=0"),
        ({"drain_target": float("nan")}, "drain_target=nan"),
        ({"drain_target": float("inf")}, "drain_target=inf"),
        ({"utilisation": 0}, "utilisation=0 must be from 0.05 to 1"),
        ({"service_seconds": -0.1}, "service_seconds=-0.1"),
        ({"fallback_replicas": 11}, "fallback_replicas=11"),
        ({"floors": (Floor("* * * * *", 11),)}, "floors.replicas=11"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=f"policy: .*{words}".replace(".replicas", r"\.replicas")):
        Policy(**settings)


def test_unknown_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError, match="compare with `is UNKNOWN`"):
        bool(UNKNOWN)


# The words.


def test_a_decision_in_words() -> None:
    policy = replace(POLICY, max_replicas=200, drain_target=60, service_seconds=1 / 26)
    decision, _ = decide(policy, knowing(120), seen(12, 48_210), NOW)
    words = "backlog 48,210, arriving 120/s: 12 → 45 (drain in 60 s at 26 jobs/s a replica, 80 % busy; backlog)"
    assert decision.text == words


@pytest.mark.parametrize(
    ("policy", "state", "observation", "words"),
    [
        (POLICY, fresh(NOW, 30), seen(2, 7, unacked=UNKNOWN), "backlog 7 (ready alone), arrivals unknown: 2 ("),
        (POLICY, knowing(), seen(2, ready_jobs=UNKNOWN), "backlog unknown, arriving 0/s: 2 ("),
        (POLICY, knowing(0.25), seen(1), "arriving 0.25/s"),
        (replace(POLICY, concurrency=3200), knowing(), seen(1), "at 32,000 jobs/s a replica"),
    ],
)
def test_what_the_words_say_of_the_unknown_and_of_the_size_of_numbers(
    policy: Policy, state: State, observation: Observation, words: str
) -> None:
    assert words in decide(policy, state, observation, NOW)[0].text


# Long jobs.

HOURS = replace(POLICY, service_seconds=3600)


def test_a_job_that_is_longer_than_the_horizon_gets_a_slot_of_its_own() -> None:
    assert decided(seen(1, 7, unacked=1, in_flight=1), policy=HOURS) == (8, Reason.BACKLOG)
    assert decided(seen(8, 1, unacked=8, in_flight=8), policy=HOURS) == (9, Reason.BACKLOG), "whatever the tolerance"
    four = replace(HOURS, concurrency=4)
    assert decided(seen(1, 4, unacked=4, in_flight=4), policy=four) == (2, Reason.BACKLOG)


def test_no_more_replicas_are_asked_for_than_jobs_could_fill() -> None:
    held = seen(2, 0, unacked=8, in_flight=4)  # four wait in a busy replica
    assert decided(held, policy=replace(HOURS, concurrency=4)) == (2, Reason.STEADY)


def test_what_runs_longer_than_the_drain_is_not_taken_away() -> None:
    """Where consumers do not tell: of jobs that are known to be long, each may be alone in its replica."""
    assert decided(seen(8, 0, unacked=2, in_flight=2), policy=HOURS) == (4, Reason.SURPLUS)
    assert decided(seen(4, 0, unacked=2, in_flight=2), policy=HOURS) == (2, Reason.SURPLUS)
    assert decided(seen(2, 0, unacked=2, in_flight=2), policy=replace(HOURS, concurrency=2)) == (2, Reason.BUSY)
    assert decided(seen(8, 0, unacked=0, in_flight=UNKNOWN), policy=HOURS) == (8, Reason.BUSY)


def test_consumers_tell_which_may_go() -> None:
    assert decided(seen(8, 0, unacked=2, in_flight=2, takeable=1)) == (7, Reason.SURPLUS)
    assert decided(seen(8, 0, unacked=2, in_flight=2, takeable=0)) == (8, Reason.BUSY)
    assert decided(seen(8, 0, unacked=8, in_flight=8, takeable=8), policy=HOURS) == (8, Reason.STEADY)


def test_one_waits_for_no_more_of_a_backlog_than_one_start_brings() -> None:
    """18,000 wait while a replica starts for 90 s: a controller that wants them done 5 s after that asks for 360."""
    slow = replace(POLICY, drain_target=5, startup_seconds=90, max_replicas=1000)
    assert decided(seen(10, 7200), policy=slow) == (10, Reason.STEADY)
    assert decided(seen(10, 14_400), policy=slow) == (20, Reason.BACKLOG)


def test_where_the_broker_no_longer_tells_arrivals_are_what_ended_and_what_is_there() -> None:
    """Else nothing would ever be taken away again."""
    state = knowing(80)._replace(derived=False)
    for second in range(60):
        now = NOW + second
        told = Figure(80.0 * min(second, 5), NOW + min(second, 5))  # the management API is unavailable after 5 s
        decision, state = decide(POLICY, state, seen(10, now=now, published=told, completed=10.0 * second), now)
    assert decision.reason in (Reason.SURPLUS, Reason.COOLDOWN)
    assert decision.arrival_rate == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize(("takeable", "wanted"), [(0, (80, Reason.BUSY)), (25, (55, Reason.BUSY)), (80, (50, Reason.AT_MAX))])
def test_a_maximum_that_is_lowered_takes_no_run_away(takeable: int, wanted: tuple[int, Reason]) -> None:
    decision, _ = decide(POLICY, knowing(), seen(80, 80_000, unacked=800, in_flight=800, takeable=takeable), NOW)
    assert (decision.replicas, decision.reason) == wanted
    assert AlertKind.AT_MAX in {alert.kind for alert in decision.alerts}


def test_more_than_the_maximum_by_hand_is_no_alert() -> None:
    assert AlertKind.AT_MAX not in told(seen(60, 0), knowing(200))
    assert AlertKind.AT_MAX in told(seen(60, 8000))


# Replicas that do not start.


def lived(asked: list[int], ready: list[int], policy: Policy = POLICY, backlog: float = 800, unready: str = "") -> Decision:
    """The last decision of a life of a second for each entry, in which `asked` is as it was whatever is decided."""
    state = knowing()
    for second, (wanted, there) in enumerate(zip(asked, ready, strict=True)):
        now = NOW + second
        observation = seen(wanted, backlog, now=now, ready=there, completed=UNKNOWN, unready=unready)
        decision, state = decide(policy, state, observation, now)
    return decision


def test_what_does_not_start_is_told_and_no_more_is_asked_for() -> None:
    early, late, told = (lived([4] * seconds, [0] * seconds) for seconds in (30, 40, 125))
    assert early.replicas > 4
    assert (late.replicas, late.reason) == (4, Reason.NOT_STARTING)
    assert AlertKind.NOT_STARTING not in {alert.kind for alert in late.alerts}
    alert = next(alert for alert in told.alerts if alert.kind is AlertKind.NOT_STARTING)
    assert alert.text == "0 of 4 replicas are ready, and no other has become so for 124 s"


def test_what_does_not_start_is_told_with_the_replicas_own_reason() -> None:
    why = '4 pods: ImagePullBackOff: Back-off pulling image "app:2"'
    alert = next(alert for alert in lived([4] * 125, [0] * 125, unready=why).alerts if alert.kind is AlertKind.NOT_STARTING)
    assert alert.text == f"0 of 4 replicas are ready, and no other has become so for 124 s. {why}"


def test_with_some_that_are_ready_it_is_a_step_more_than_those() -> None:
    assert lived([8] * 40, [8] * 2 + [7] * 38).replicas == 9
    assert lived([8] * 40, [8] * 38 + [7] * 2).replicas == 9, "at once, since one was lost"
    assert lived([8] * 40, [7] * 2 + [8] * 38).replicas == 10


# Jobs wait, and no replica works on them.


def stalled(seconds: int, **of: Any) -> Decision:
    """The last decision where 800 jobs wait for the given number of seconds, and none ends."""
    state = knowing()
    for second in range(seconds):
        now = NOW + second
        decision, state = decide(POLICY, state, seen(2, 800, now=now, completed=5.0, **of), now)
    return decision


def kinds(decision: Decision) -> dict[AlertKind, str]:
    return {alert.kind: alert.text for alert in decision.alerts}


def test_while_consumers_take_nothing_the_alert_says_why_and_the_latency_alert_stands() -> None:
    assert AlertKind.STALLED not in kinds(stalled(31, unacked=0, in_flight=0, paused=2))
    found = kinds(stalled(40, unacked=0, in_flight=0, paused=2))
    assert found[AlertKind.STALLED].startswith("800 jobs wait, and none has run for 39 s: consumers take nothing")
    assert found[AlertKind.LATENCY] == "jobs have waited for 39 s or longer, above 5 s"


def test_a_first_start_that_takes_long_is_no_stall_for_two_minutes() -> None:
    def starting(seconds: int) -> Decision:
        state = knowing()
        for second in range(seconds):
            now = NOW + second
            nothing = seen(2, 800, now=now, ready=0, running=2, unacked=0, in_flight=0, completed=UNKNOWN)
            decision, state = decide(POLICY, state, nothing, now)
        return decision

    assert not {AlertKind.STALLED, AlertKind.LATENCY} & kinds(starting(115)).keys()
    assert {AlertKind.STALLED, AlertKind.LATENCY, AlertKind.NOT_STARTING} <= kinds(starting(125)).keys()


def test_consumers_that_do_not_answer_are_stalled_unless_the_backlog_falls() -> None:
    found = kinds(stalled(40, unacked=UNKNOWN, in_flight=UNKNOWN, unready="2 processes: NotReady: it runs"))
    assert found[AlertKind.STALLED].endswith("of 2 replicas are ready. 2 processes: NotReady: it runs")
    state = knowing()
    for second in range(60):
        now = NOW + second
        silent = seen(2, 800 - second, now=now, unacked=UNKNOWN, in_flight=UNKNOWN, completed=UNKNOWN)
        decision, state = decide(POLICY, state, silent, now)
    assert AlertKind.STALLED not in kinds(decision)


def test_where_a_job_runs_or_none_waits_or_no_replica_is_wanted_nothing_is_stalled() -> None:
    assert AlertKind.STALLED not in kinds(stalled(60, unacked=1, in_flight=1))
    state = knowing()
    for asked, backlog in ((2, 0), (0, 800)):
        for second in range(60):
            now = NOW + second
            observation = seen(asked, backlog, now=now, completed=5.0, unacked=0, in_flight=0)
            decision, state = decide(POLICY, state, observation, now)
        assert AlertKind.STALLED not in kinds(decision)


def test_the_last_word_of_a_broker_that_died_takes_nothing_away() -> None:
    """It has reported how many jobs are ready; the consumers, whose deliveries it has taken back, hold none."""
    state = knowing()
    for second in range(14):
        now = NOW + second
        last = Figure(10.0, NOW)
        observation = seen(20, now=now, ready_jobs=last, unacked=0, in_flight=0, completed=5.0, silent_at=NOW)
        decision, state = decide(POLICY, state, observation, now)
        assert decision.replicas >= 20
    assert decision.reason is Reason.BLIND


def test_a_signal_that_has_been_silent_for_long_is_in_no_figure_any_more_and_holds_nothing_back() -> None:
    assert decided(seen(20, silent_at=NOW - POLICY.freshness - 1)) == decided(seen(20))
    assert decided(seen(20)) != decided(seen(20, silent_at=NOW - POLICY.freshness + 1))


# Every reason.

SCENES: dict[Reason, tuple[Observation, State, Policy]] = {
    Reason.STEADY: (seen(10), knowing(80), POLICY),
    Reason.BACKLOG: (seen(2, 800), knowing(), POLICY),
    Reason.WAKE: (seen(0, 1), knowing(), POLICY),
    Reason.IDLE: (seen(2), IDLE, POLICY),
    Reason.SURPLUS: (seen(20), knowing(), POLICY),
    Reason.WINDOW: (seen(20), knowing(peaks=((NOW - 1, 20),)), POLICY),
    Reason.COOLDOWN: (seen(20), knowing(down_at=NOW - 1), POLICY),
    Reason.BACKLOG_THRESHOLD: (seen(400, 20_000), STUCK, SLOW),
    Reason.LATENCY_THRESHOLD: (seen(4, 100, wait_mean=9, handler_mean=1), knowing(backlog_at=NOW - 2), POLICY),
    Reason.AT_MAX: (seen(2, 8000), knowing(), POLICY),
    Reason.AT_MIN: (seen(2), knowing(), replace(POLICY, min_replicas=4)),
    Reason.FLOOR: (seen(2), knowing(), replace(POLICY, floors=(Floor("* * * * *", 4),))),
    Reason.STEP: (seen(2, 800), knowing(), replace(POLICY, step_up=1, step_up_replicas=1)),
    Reason.BLIND: (seen(2, ready_jobs=UNKNOWN), knowing(), POLICY),
    Reason.FALLBACK: (seen(2, ready_jobs=UNKNOWN), knowing(blind_since=NOW - 61), POLICY),
    Reason.NO_PROGRESS: (seen(2, 800), SATURATED, POLICY),
    Reason.PAUSED: (seen(2, 800, pause=Pause.ALL), knowing(), POLICY),
    Reason.BUSY: (seen(20, takeable=0), knowing(), POLICY),
    Reason.NOT_STARTING: (seen(2, 800, ready=1), knowing(starting=Starting(NOW - 31, False, 2, 1.0)), POLICY),
    Reason.STORE_AWAY: (seen(2, 800, paused=2), knowing(), POLICY),
    Reason.SETTLING: (seen(20), knowing()._replace(settled_at=NOW + 1), POLICY),
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_scene_that_leads_to_it(reason: Reason) -> None:
    observation, state, policy = SCENES[reason]
    assert decided(observation, state, policy)[1] is reason
