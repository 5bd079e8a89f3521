"""The plan that follows from how a run ended; `settle.py` carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consumer.context import Context
from consumer.encoded import NotKept, encoded
from core.chance import Chance
from core.errors import Permanent, RetryLater
from core.model import Reason
from core.ports import Failure
from core.retry import MAX_DELAY, RetryPolicy
from core.text import safe, text_of
from telemetry import tracebacks

# Characters of an error's text, and of its traceback: the end of that. Of each exception in it the innermost frames.
MOST_TEXT = 8_192


@dataclass(frozen=True, slots=True)
class Succeed:
    """result: JSON text, or None."""

    result: str | None = None


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """delay: seconds. crashed: the run ended with its process."""

    delay: float
    failure: Failure
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class Bury:
    reason: Reason
    failure: Failure


Plan = Succeed | RetryAfter | Bury

_CRASHED = Failure("crashed", "the run never ended: its process was killed, or lost the outcome store for longer than its lease")


def after_failure(error: BaseException, policy: RetryPolicy, attempt: int, chance: Chance) -> RetryAfter | Bury:
    """The plan after the failure of run number `attempt`: every exception leads to an outcome."""
    failure = describe(error)
    if issubclass(type(error), Permanent):  # isinstance asks the error itself, which is somebody else's code
        return Bury(Reason.PERMANENT, failure)
    delay = policy.delay(attempt, chance)
    if delay is None:
        return Bury(Reason.EXHAUSTED, failure)
    return RetryAfter(_asked(error, delay), failure)


def after_crash(policy: RetryPolicy, attempt: int, chance: Chance) -> RetryAfter | Bury:
    """The plan after run number `attempt`, during which its process died."""
    delay = policy.delay(attempt, chance)
    return Bury(Reason.CRASHED, _CRASHED) if delay is None else RetryAfter(delay, _CRASHED, crashed=True)


def after_return(value: Any, ctx: Context) -> Succeed:
    """The plan after a handler returned. A result that cannot be kept is dropped with a log line: its effects have happened."""
    if value is None:
        return Succeed()
    try:
        return Succeed(encoded(value))
    except NotKept as why:
        ctx.log.warning("the result is not kept", why=str(why))
        return Succeed()


def describe(error: BaseException) -> Failure:
    """An error as it is recorded: its class, its text and the end of its traceback, each safe and bounded. It never raises:
    much of an error is a handler's own code.
    """
    try:
        return Failure(_kind(error), text_of(error, MOST_TEXT), _traceback(error))
    except BaseException as broken:
        return Failure("error", f"it cannot be described: {type(broken).__name__} is raised by it")


def _kind(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return safe(name, 200)


def _traceback(error: BaseException) -> str:
    try:
        return tracebacks.as_text(error, MOST_TEXT)
    except BaseException as broken:
        return f"(its traceback cannot be had: {type(broken).__name__})"


def _asked(error: BaseException, otherwise: float) -> float:
    """The delay that RetryLater asks for. A class made from it may have left it out, or put anything there."""
    if not issubclass(type(error), RetryLater):
        return otherwise
    delay = getattr(error, "delay", None)
    return min(float(delay), MAX_DELAY) if isinstance(delay, int | float) and delay >= 0 else otherwise
