"""For tests of your handlers, which are functions: the context of a run, without a broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from consumer.context import Context
from core.envelope import Envelope
from core.identity import new_job_id


class RecordedContext(Context):
    """A handler's context which keeps what the handler notes. notes: each value that `progress` was called with, as JSON has it."""

    def __init__(self, queue: str, envelope: Envelope, time_limit: float) -> None:
        super().__init__(queue, envelope, time_limit, lambda text: self.notes.append(orjson.loads(text)))
        self.notes: list[Any] = []


def context(
    queue: str = "test",
    *,
    job_id: str | None = None,
    attempt: int = 1,
    replay: int = 0,
    deadline: float | None = None,
    time_limit: float = 30.0,
    trace: Mapping[str, str] | None = None,
) -> RecordedContext:
    """The context of one run. job_id: a new one where it is not given; the same one again is the same delivery, with the same
    idempotency key. attempt: which run it is. replay: how often an operator has replayed it. deadline: Unix seconds.
    time_limit: seconds, of which `check` knows once `overdue` is set. trace: traceparent, tracestate, baggage.
    """
    headers = tuple((trace or {}).items())
    envelope = Envelope(job_id or new_job_id(), "test", 0.0, attempt, replay, deadline=deadline, trace=headers)
    return RecordedContext(queue, envelope, time_limit)
