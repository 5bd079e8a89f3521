"""Job types, and the states that their deliveries pass through."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from core.errors import ContractError
from core.retry import RetryPolicy

_JOB_TYPE = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*")
# No dot: the delay ladder's routing key ends in the queue's name, as one word of a topic.
_QUEUE = re.compile(r"[a-z][a-z0-9_-]*")


class State(StrEnum):
    """Where a delivery stands. It only moves forward, attempt by attempt."""

    UNCONFIRMED = "unconfirmed"  # published, and the broker has not confirmed it: it may run or may not
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing but a replay follows."""
        return self in _FINAL


_FINAL = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})


class Reason(StrEnum):
    """Why a delivery is dead."""

    PERMANENT = "permanent"  # the handler said so
    EXHAUSTED = "attempts-exhausted"
    CRASHED = "crashed"  # the last attempt that it may have ended with its process, or with the loss of its claim
    EXPIRED = "expired"  # its deadline passed before it ran
    INVALID = "invalid-payload"
    MALFORMED = "malformed-message"
    VERSION = "unknown-version"
    NO_HANDLER = "no-handler"
    NO_QUEUE = "no-queue"  # it was delayed, and its queue was deleted
    DELIVERY_LIMIT = "delivery-limit"  # handed out too often without being settled: it kills its consumers
    RECORD = "unusable-record"  # what the outcome store has of it cannot be read or written
    REJECTED = "rejected"  # by the broker, or by a consumer without an outcome store


@dataclass(frozen=True, slots=True)
class Contract:
    """A job type: what it carries, which queues receive it, and how its deliveries are treated.

    name: dotted lower-case words, such as `user.registered`.
    payload: the pydantic model of the body.
    queues: each gets a delivery of its own.
    retry: when to try again.
    time_limit: seconds that one run of a handler may take.
    priority: 0 (default) to 9, the highest.
    deadline: seconds after acceptance within which a delivery must start, or None.
    examples: payloads for the API's documentation and for `headrace submit`; each is validated at start.
    """

    name: str
    payload: type[BaseModel]
    queues: tuple[str, ...]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    time_limit: float = 60.0
    priority: int = 0
    deadline: float | None = None
    description: str = ""
    examples: tuple[dict[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        if not _JOB_TYPE.fullmatch(self.name) or len(self.name) > 100:
            raise ContractError(
                f"job type {self.name!r}: use at most 100 lower-case letters, digits, - and _, in words joined by dots"
            )
        if not isinstance(self.queues, tuple):
            example = f'("{self.queues}",)' if isinstance(self.queues, str) else '("email", "points")'
            kind = type(self.queues).__name__
            raise ContractError(f"job type {self.name!r}: queues is a {kind}, not a tuple: write {example}")
        if not self.queues or len(set(self.queues)) != len(self.queues):
            raise ContractError(f"job type {self.name!r}: name at least one queue, and each once")
        for queue in self.queues:
            if not _QUEUE.fullmatch(queue) or len(queue) > 60:
                raise ContractError(f"job type {self.name!r}: queue {queue!r}: use at most 60 lower-case letters, digits, - and _")
        if not self.time_limit > 0:
            raise ContractError(f"job type {self.name!r}: time_limit must be above 0 seconds, not {self.time_limit}")
        if not 0 <= self.priority <= 9:
            raise ContractError(f"job type {self.name!r}: priority must be 0 to 9, not {self.priority}")
        if self.deadline is not None and not self.deadline > 0:
            raise ContractError(f"job type {self.name!r}: deadline must be above 0 seconds or None, not {self.deadline}")
