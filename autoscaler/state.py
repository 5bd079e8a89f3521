"""The controller's memory of one queue, and how it is saved: as ages, since the next process has another clock."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from autoscaler.starting import STARTS, TOLD_AFTER, Starting
from autoscaler.window import Peaks, Rate, Service, Startup

NEVER = float("-inf")
# For this number of seconds it is not reported that no job runs: a store or broker that restarts is unavailable for some.
_STALLED_AFTER = 30.0


class Guard(NamedTuple):
    """Replicas were added: does throughput follow?

    ready, throughput: when they were asked for (replicas, jobs/s), at `since`. grown_at: when more were ready, or NEVER.
    grown, looks: replicas that were ready since then, summed over `looks` observations.
    """

    ready: float
    throughput: float
    since: float = NEVER
    grown_at: float = NEVER
    grown: float = 0.0
    looks: int = 0


class Retreat(NamedTuple):
    """Replicas were taken away, since they were thought to bring nothing: does throughput stay?

    before, after: replicas. throughput: jobs/s, when that was decided, at `since`.
    """

    before: int
    after: int
    throughput: float
    since: float


class State(NamedTuple):
    """Times are monotonic seconds; NEVER is long ago, None is not now.

    settled_at: from then on replicas may be taken away. derived: arrivals come from what has ended and what is still there.
    returns: retries that fall due, which the broker does not count among what is published.
    backlog, backlog_at: the last known one (jobs), and when it was so. idle_since: nothing has been there since.
    stalled_since: jobs wait, and none has run since.
    down_at, step_at: the last time that replicas were taken away, or added.
    saturated_at: replicas that brought as much as more of them; until `saturated_until` there are no more. saturations: how often
    in a row that was found. retreated: a step back has cost nothing. immune: the first one did, and none is taken again before the
    backlog is gone.
    """

    settled_at: float
    arrivals: Rate = Rate()
    derived: bool = False
    returns: Rate = Rate()
    completions: Rate = Rate()
    progress: Rate = Rate()
    service: Service = Service()
    startup: Startup = Startup()
    starting: Starting = Starting()
    peaks: Peaks = ()
    backlog: float = 0.0
    backlog_at: float = NEVER
    blind_since: float | None = None
    idle_since: float | None = None
    stalled_since: float | None = None
    down_at: float = NEVER
    step_at: float = NEVER
    guard: Guard | None = None
    retreat: Retreat | None = None
    retreated: bool = False
    immune: bool = False
    saturated_until: float = NEVER
    saturated_at: int = 0
    saturations: int = 0
    saturated_text: str = ""

    @property
    def throughput(self) -> Rate:
        """Jobs that are done for good, where reported: a poisoned queue, whose jobs fail and come again, completes many."""
        return self.progress if self.progress.known else self.completions

    def stalled_for(self, startup: float, now: float) -> float:
        """Seconds for which no replica has worked on the backlog; 0 until that is longer than starts take. startup: of a replica.

        While none has been ready yet, a first start with an image to be pulled is waited for.
        """
        passed = 0.0 if self.stalled_since is None else now - self.stalled_since
        least = _STALLED_AFTER if self.starting.ready > 0 or self.starting.lost else TOLD_AFTER
        return passed if passed > max(STARTS * startup, least) else 0.0

    def blind_for(self, now: float) -> float:
        """Seconds since something of the queue was known; 0 in the first moment."""
        return 0.0 if self.blind_since is None else now - self.blind_since


def fresh(now: float, window: float) -> State:
    """The state of a controller that knows nothing: for a first `window` (seconds) it takes no replica away."""
    return State(now + window)


def saved(state: State, now: float) -> dict[str, Any]:
    """The part of the state worth keeping over a restart, as plain values; every time as the seconds that have passed since."""
    return {
        "service": [state.service.jobs, state.service.seconds],
        "startup": state.startup.seconds,
        "peaks": [[now - at, value] for at, value in state.peaks],
        "down_age": _age(state.down_at, now),
        "step_age": _age(state.step_at, now),
        "idle_age": None if state.idle_since is None else now - state.idle_since,
        "saturated_for": max(0.0, state.saturated_until - now) if state.saturated_until != NEVER else 0.0,
        "saturated_at": state.saturated_at,
        "saturations": state.saturations,
        "settles_in": max(0.0, state.settled_at - now),
    }


def restored(kept: dict[str, Any], now: float, away: float) -> State:
    """The state that `saved` kept, `away` seconds later. Raises KeyError, TypeError or ValueError for anything else.

    Rates begin again. Idleness is not carried over time without a poll.
    """
    jobs, seconds = (_number(value) for value in kept["service"])
    saturated_at = int(_number(kept.get("saturated_at", 0)))  # 0.1.0 saved none, and held what was there: nothing to go back to
    saturated_until = now + _number(kept["saturated_for"]) - away
    return State(
        settled_at=now + max(0.0, _number(kept["settles_in"]) - away),
        service=Service(None, None, jobs, seconds),
        startup=Startup(_number(kept["startup"])),
        peaks=tuple((now - away - _number(age), int(_number(value))) for age, value in kept["peaks"]),
        down_at=_time(kept["down_age"], now, away),
        step_at=_time(kept["step_age"], now, away),
        idle_since=None if kept["idle_age"] is None or away > 30.0 else now - away - _number(kept["idle_age"]),
        saturated_until=saturated_until if saturated_at else NEVER,
        saturated_at=saturated_at,
        saturations=int(_number(kept.get("saturations", 0))),
    )


def _age(at: float, now: float) -> float | None:
    return None if at == NEVER else now - at


def _time(age: float | None, now: float, away: float) -> float:
    return NEVER if age is None else now - away - _number(age)


def _number(value: Any) -> float:
    """An age or an amount. JSON readers let NaN and Infinity pass, and either would stay in the state for ever."""
    number = float(value)
    if not 0.0 <= number < inf:
        raise ValueError(f"{value!r} is neither an age nor an amount")
    return number
