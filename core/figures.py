"""A consumer's report to the controller, at `/figures` beside its metrics: small, so that many can be polled every tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Means and quantiles are of the deliveries that ended within the last half minute.
RECENT_SECONDS = 30.0
_MAY_BE_UNTOLD = frozenset({"done", "lasts", "paused", "cordoned", "returned", "due_soon", "free", "waited"})
# No consumer counts so far: sums of what is below are numbers still.
_MOST = 1e15


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """One queue, in one process.

    in_flight, held: jobs in handlers, and taken from the broker without being settled.
    settled: deliveries ever that ended here, in whatever way but handed back; done: those that do not
    come again as a retry; None is not reported, by a consumer of an older version. busy_seconds: ever spent in handlers, those that
    run now included. lasts: seconds within which all that runs is expected to end. paused: nothing is begun for now, since its
    outcome could not be recorded. cordoned: nothing is taken, since the process is to be removed; one that does not tell cannot be
    cordoned. returned: retries ever that were put off here and have fallen due; due_soon: those that will within SOON_SECONDS
    (`core/returning.py`). The five are None where they are not reported. recent: jobs that the four latencies (seconds) are of;
    with none of them they are 0 and say nothing.
    slow_seconds, slow_trace: of the slowest of them, waiting included.
    free: slots in which a delivery would begin at once. waited: seconds that the oldest delivery that was taken ahead has waited
    for a slot; 0 where none waits. Both are None where they are not reported.
    """

    in_flight: int = 0
    held: int = 0
    settled: int = 0
    done: int | None = None
    busy_seconds: float = 0.0
    lasts: float | None = None
    paused: bool | None = None
    cordoned: bool | None = None
    returned: int | None = None
    due_soon: int | None = None
    recent: int = 0
    wait_mean: float = 0.0
    wait_p95: float = 0.0
    handler_mean: float = 0.0
    handler_p95: float = 0.0
    slow_seconds: float = 0.0
    slow_trace: str = ""
    free: int | None = None
    waited: float | None = None


def p95(values: Sequence[float]) -> float:
    """The nearest-rank quantile of one value or more."""
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


def to_plain(figures: dict[str, QueueFigures]) -> dict[str, Any]:
    """As JSON values, by queue."""
    return {queue: asdict(of) for queue, of in figures.items()}


def from_plain(plain: Any) -> dict[str, QueueFigures]:
    """Raises TypeError or ValueError for what `to_plain` did not make. Fields of a newer version are passed over."""
    known = QueueFigures.__dataclass_fields__
    found = {}
    for queue, fields in plain.items():
        values = {name: value for name, value in fields.items() if name in known}
        if not all(_fits(name, value) for name, value in values.items()):
            raise ValueError(f"figures of {queue!r}: {values!r}")
        found[queue] = QueueFigures(**values)
    return found


def _fits(name: str, value: Any) -> bool:
    if name == "slow_trace":
        return isinstance(value, str)
    if value is None:
        return name in _MAY_BE_UNTOLD
    if name in ("paused", "cordoned"):
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST
