"""What a controller remembers of one queue, and how it is saved: as ages, since the next process has another clock."""

from __future__ import annotations

from typing import Any, NamedTuple

from autoscaler.window import Peaks, Rate, Service, Startup

NEVER = float("-inf")


class Guard(NamedTuple):
    """Replicas were added: does throughput follow?

    ready, throughput: when they were asked for (replicas, jobs/s). grown_at: when more were ready, or NEVER.
    """

    ready: float
    throughput: float
    grown_at: float = NEVER


class State(NamedTuple):
    """Times are monotonic seconds; NEVER is long ago, None is not now.

    derived: arrivals were last told by what has ended and what is there, not by the broker's own counter.
    backlog: the last known one (jobs). settled_at: from then on replicas may be taken away.
    """

    settled_at: float
    arrivals: Rate = Rate()
    derived: bool = False
    completions: Rate = Rate()
    service: Service = Service()
    startup: Startup = Startup()
    peaks: Peaks = ()
    backlog: float = 0.0
    blind_since: float | None = None
    idle_since: float | None = None
    down_at: float = NEVER
    step_at: float = NEVER
    guard: Guard | None = None
    saturated_until: float = NEVER
    saturated_text: str = ""


def fresh(now: float, window: float) -> State:
    """The state of a controller that knows nothing: for a first `window` (seconds) it takes no replica away."""
    return State(now + window)


def saved(state: State, now: float) -> dict[str, Any]:
    """What is worth keeping over a restart, as plain values; every time as the seconds that have passed since."""
    return {
        "service": [state.service.jobs, state.service.seconds],
        "startup": state.startup.seconds,
        "peaks": [[now - at, value] for at, value in state.peaks],
        "down_age": _age(state.down_at, now),
        "step_age": _age(state.step_at, now),
        "idle_age": None if state.idle_since is None else now - state.idle_since,
        "saturated_for": max(0.0, state.saturated_until - now) if state.saturated_until != NEVER else 0.0,
        "settles_in": max(0.0, state.settled_at - now),
    }


def restored(kept: dict[str, Any], now: float, away: float) -> State:
    """The state that `saved` kept, `away` seconds later. Raises KeyError, TypeError or ValueError for anything else.

    Rates begin anew. Idleness is not carried over time in which nobody looked.
    """
    jobs, seconds = (float(value) for value in kept["service"])
    return State(
        settled_at=now + max(0.0, float(kept["settles_in"]) - away),
        service=Service(None, None, jobs, seconds),
        startup=Startup(float(kept["startup"])),
        peaks=tuple((now - away - float(age), int(value)) for age, value in kept["peaks"]),
        down_at=_time(kept["down_age"], now, away),
        step_at=_time(kept["step_age"], now, away),
        idle_since=None if kept["idle_age"] is None or away > 30.0 else now - away - float(kept["idle_age"]),
        saturated_until=now + float(kept["saturated_for"]) - away,
    )


def _age(at: float, now: float) -> float | None:
    return None if at == NEVER else now - at


def _time(age: float | None, now: float, away: float) -> float:
    return NEVER if age is None else now - away - float(age)
