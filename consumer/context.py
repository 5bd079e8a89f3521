"""The data that a handler receives besides its payload."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from consumer.encoded import NotKept, encoded
from core.envelope import Envelope
from telemetry import logs

_log = logs.get("handler")


class TimeLimitExceeded(Exception):
    """The run has taken longer than its contract's time limit."""


class Context:
    """One run of a handler.

    envelope: what travelled with the payload. time_limit: seconds that this run may take.
    """

    def __init__(self, queue: str, envelope: Envelope, time_limit: float, note: Callable[[str], None]) -> None:
        self.queue = queue
        self.envelope = envelope
        self.time_limit = time_limit
        self.overdue = False
        self._note = note
        self._complained = False

    @property
    def job_id(self) -> str:
        return self.envelope.job_id

    @property
    def attempt(self) -> int:
        """Which run this is; 1 is the first."""
        return self.envelope.attempt

    @property
    def deadline(self) -> float | None:
        """Unix seconds by which the run had to start, or None."""
        return self.envelope.deadline

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this delivery, so that a service that is called with it can refuse to act twice.

        A replay by an operator has a key of its own: it is asked for because the work shall be done again.
        """
        key = f"{self.queue}:{self.envelope.job_id}"
        return f"{key}:{self.envelope.replay}" if self.envelope.replay else key

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that came with the job."""
        return self.trace.get("traceparent")

    @property
    def trace(self) -> dict[str, str]:
        """traceparent, tracestate and baggage: the headers to send on."""
        return dict(self.envelope.trace)

    @cached_property
    def log(self) -> Any:
        """A structlog logger whose lines name the job, its queue, the attempt and the trace."""
        return _log.bind(job_id=self.job_id, queue=self.queue, attempt=self.attempt, trace_id=self.envelope.trace_id)

    def progress(self, done: Any) -> None:
        """Note how far the run is: any JSON value, shown by `GET /v1/jobs/{job_id}`. From a coroutine or a thread.

        It returns at once; the newest note is written about once a second. A note that cannot be kept, as with a result (no JSON,
        or more than 256 KiB of it), is dropped with one log line a run: it is no reason for a job to fail.
        """
        try:
            text = encoded(done)
        except NotKept as why:
            if not self._complained:
                self._complained = True
                self.log.warning("the progress is not kept", why=str(why))
            return
        self._note(text)

    def check(self) -> None:
        """Raise TimeLimitExceeded once the time limit is over. A plain function cannot be cancelled: call this in its loop."""
        if self.overdue:
            raise TimeLimitExceeded(f"ran longer than its limit of {self.time_limit:g} s")
