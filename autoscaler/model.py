"""The data of a decision: a policy, an observation, the remembered state, and the decision. All frozen, all arithmetic.

Units are in the names or here: jobs, jobs/s, seconds, replicas. `now` and every `at` are monotonic seconds of one clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from autoscaler.schedule import Floor
from core.errors import SettingsError


class Unknown(Enum):
    """The type of UNKNOWN: a figure that no source reported. It is never 0, and never the last known one."""

    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        raise TypeError("UNKNOWN is neither true nor false: compare with `is UNKNOWN`")


UNKNOWN: Final = Unknown.UNKNOWN


class Figure(NamedTuple):
    """A value, and when it was true (monotonic seconds): a broker's statistics may be 5 s old when they arrive."""

    value: float
    at: float


Seen = Figure | Unknown


class Pause(StrEnum):
    """The actions that an operator has forbidden."""

    NONE = "none"
    ALL = "all"  # hold what runs
    IN = "in"  # never fewer
    OUT = "out"  # never more


@dataclass(frozen=True, slots=True)
class Observation:
    """The figures of one queue and its consumers at one moment.

    wall: Unix seconds, for schedules alone.
    asked: replicas that the workload is set to. running: that exist; ready: that take work (replicas).
    ready_jobs, unacked: jobs in the queue now, and at consumers.
    published, completed: jobs ever; counters that begin again at 0 when their server does. done: of those completed the ones that
    do not come again as a retry. returned: retries ever that have fallen due; due_soon: those that will within 10 s.
    in_flight: jobs in handlers. ending: those of them whose replica takes nothing more.
    busy_seconds: seconds ever spent in handlers, of all replicas.
    wait_mean, wait_p95, handler_mean, handler_p95: seconds, of late.
    oldest_age: seconds that the oldest ready job has waited.
    slow_trace: the trace id of a slow job, or "".
    pause: what an operator has forbidden.
    unschedulable: why replicas that were asked for cannot start, or "". unready: why those that are there are not ready, or "".
    takeable: replicas that could go now, and all that they run would be done within their drain.
    paused: above 0 where all replicas take nothing for now, since they could not record outcomes.
    ends_itself: each replica takes one job and ends with it: fewer of them are none lost, and none can be taken away.
    silent_at: when the newest figure was true of a signal whose last look failed; None where each one's last look was answered.
    """

    wall: float
    asked: int
    running: Seen = UNKNOWN
    ready: Seen = UNKNOWN
    ready_jobs: Seen = UNKNOWN
    unacked: Seen = UNKNOWN
    published: Seen = UNKNOWN
    completed: Seen = UNKNOWN
    done: Seen = UNKNOWN
    returned: Seen = UNKNOWN
    due_soon: Seen = UNKNOWN
    in_flight: Seen = UNKNOWN
    ending: Seen = UNKNOWN
    busy_seconds: Seen = UNKNOWN
    wait_mean: Seen = UNKNOWN
    wait_p95: Seen = UNKNOWN
    handler_mean: Seen = UNKNOWN
    handler_p95: Seen = UNKNOWN
    oldest_age: Seen = UNKNOWN
    slow_trace: str = ""
    pause: Pause = Pause.NONE
    unschedulable: str = ""
    takeable: Seen = UNKNOWN
    paused: Seen = UNKNOWN
    ends_itself: bool = False
    unready: str = ""
    silent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How one queue is scaled. The defaults suit jobs of some 100 ms; `headrace simulate --tune` finds others.

    The one knob is `drain_target`: how soon a backlog is to be gone. Shorter is dearer, and less is late.
    The windows are short because starting again costs a few pod-seconds, and holding on costs all of them: on the three real
    traces 6 s instead of 30 s saved a third of the pod-seconds at equal lateness.
    """

    min_replicas: int = 1  # never fewer; 0 lets an idle queue go without
    max_replicas: int = 10  # never more
    concurrency: int = 32  # jobs that a replica runs at once
    service_seconds: float = 0.1  # a job's time in its handler, until it is learned
    startup_seconds: float = 5.0  # from asking for a replica to its first job, until it is learned
    drain_target: float = 5.0  # seconds within which a backlog is to be worked off; or those of a start, where it takes longer
    drain_seconds: float = 25.0  # seconds that a replica has to finish its running jobs before it is removed
    slack_seconds: float = 0.5  # a backlog of at most this many seconds of arrivals counts as none; or of half a job's time
    utilisation: float = 0.9  # how busy replicas are to be; nearer to 1 with jobs that take longer than `drain_target`
    tolerance: float = 0.1  # what is wanted may differ by so much from what runs before fewer are asked for
    step_up: float = 100.0  # at most this many times what runs, at once; and always at least `step_up_replicas` more
    step_up_replicas: int = 100  # see step_up
    step_down: float = 0.5  # at most this part of what runs goes at once, and at least one
    down_window: float = 6.0  # fewer are asked for only when fewer were wanted for this long
    down_cooldown: float = 2.0  # seconds between two steps down
    idle_seconds: float = 60.0  # nothing has been there for this long, and that is known: to 0, where min_replicas is 0
    freshness: float = 15.0  # a figure that is older is unknown
    blind_limit: float = 60.0  # blind for longer: fall back, upward only
    fallback_replicas: int = 1  # what is asked for then, if it is more than runs
    backlog_threshold: float = 10_000.0  # jobs: above, consumers are added
    latency_threshold: float = 5.0  # seconds, mean: above, an alert; consumers are added where waiting is what is slow
    threshold_step: float = 0.25  # of what runs, at least 1
    threshold_cooldown: float = 15.0  # seconds between two such steps
    guard_seconds: float = 30.0  # replicas were added and throughput did not grow for this long: hold
    guard_retry: float = 120.0  # then try again
    floors: tuple[Floor, ...] = field(default=())

    def __post_init__(self) -> None:
        """Raises SettingsError that names the field, its value and what is allowed."""
        _check("min_replicas", self.min_replicas, 0, 10_000)
        _check("max_replicas", self.max_replicas, 1, 10_000)
        if self.min_replicas > self.max_replicas:
            raise SettingsError(f"policy: min_replicas={self.min_replicas} is above max_replicas={self.max_replicas}")
        _check("concurrency", self.concurrency, 1, 10_000)
        for name, least, most in _BOUNDS:
            _check(name, getattr(self, name), least, most)
        _check("fallback_replicas", self.fallback_replicas, 0, self.max_replicas)
        for floor in self.floors:
            _check("floors.replicas", floor.replicas, 0, self.max_replicas)


_WHOLE: Final = frozenset(
    {"min_replicas", "max_replicas", "concurrency", "step_up_replicas", "fallback_replicas", "floors.replicas"}
)
_BOUNDS: Final = (
    ("service_seconds", 1e-6, 86_400.0),
    ("startup_seconds", 0.0, 3600.0),
    ("drain_target", 0.1, 86_400.0),
    ("drain_seconds", 0.0, 86_400.0),
    ("slack_seconds", 0.0, 3600.0),
    ("utilisation", 0.05, 1.0),
    ("tolerance", 0.0, 1.0),
    ("step_up", 1.0, 10_000.0),
    ("step_up_replicas", 1, 10_000),
    ("step_down", 0.01, 1.0),
    ("down_window", 0.0, 86_400.0),
    ("down_cooldown", 0.0, 86_400.0),
    ("idle_seconds", 0.0, 604_800.0),
    ("freshness", 0.1, 3600.0),
    ("blind_limit", 1.0, 86_400.0),
    ("backlog_threshold", 1.0, 1e12),
    ("latency_threshold", 0.001, 86_400.0),
    ("threshold_step", 0.01, 10.0),
    ("threshold_cooldown", 0.0, 86_400.0),
    ("guard_seconds", 1.0, 86_400.0),
    ("guard_retry", 1.0, 86_400.0),
)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also what is not a number
        raise SettingsError(f"policy: {name}={value!r} must be from {least:g} to {most:g}")
    if name in _WHOLE and value != int(value):
        raise SettingsError(f"policy: {name}={value!r} must be a whole number")


class Reason(StrEnum):
    """Why this many. Every decision has exactly one."""

    STEADY = "steady"  # what runs is what is wanted
    BACKLOG = "backlog"  # the formula asks for more
    WAKE = "wake"  # from 0, because there is work
    IDLE = "idle"  # to 0, because there has been none
    BUSY = "busy"  # fewer would do, and what runs would outlast the drain of those that went
    NOT_STARTING = "not-starting"  # more are wanted, and those that were asked for do not become ready
    STORE_AWAY = "store-away"  # consumers take nothing, since they cannot record outcomes: more of them would not, either
    SURPLUS = "surplus"  # the formula asks for fewer, and has for the whole window
    WINDOW = "window"  # fewer would do now, but not for long enough
    COOLDOWN = "cooldown"  # fewer would do, and the last step down was just now
    BACKLOG_THRESHOLD = "backlog-threshold"  # above it, not falling, and the formula asks for no more
    LATENCY_THRESHOLD = "latency-threshold"  # jobs wait too long, and the formula asks for no more
    AT_MAX = "at-max"  # more are wanted than may be
    AT_MIN = "at-min"  # fewer would do than may be
    FLOOR = "floor"  # the schedule asks for this many
    STEP = "step-limit"  # on the way to what is wanted
    BLIND = "blind"  # what has to be known is not: hold
    FALLBACK = "fallback"  # blind for too long
    NO_PROGRESS = "no-progress"  # replicas were added and throughput did not grow: downstream is saturated
    PAUSED = "paused"  # an operator has forbidden it
    SETTLING = "settling"  # just started: nothing is taken away in the first window


class AlertKind(StrEnum):
    """The alerts that an operator can receive."""

    LATENCY = "latency"
    BACKLOG = "backlog"
    BLIND = "blind"
    SATURATED = "downstream-saturated"
    AT_MAX = "at-max"
    UNSCHEDULABLE = "unschedulable"
    NOT_STARTING = "not-starting"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that an operator should know. It stands as long as decisions carry it. trace_id: of a slow job, or ""."""

    kind: AlertKind
    text: str
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas are wanted, and the one reason. text: for people, with the numbers that made it.

    backlog: jobs; arrival_rate, service_rate (of a replica): jobs/s. They are UNKNOWN where they were not needed.
    """

    replicas: int
    reason: Reason
    text: str
    backlog: float | Unknown = UNKNOWN
    arrival_rate: float | Unknown = UNKNOWN
    service_rate: float | Unknown = UNKNOWN
    alerts: tuple[Alert, ...] = ()
