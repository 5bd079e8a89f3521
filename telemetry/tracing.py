"""W3C trace context: carried from the request to the handler as text headers."""

from __future__ import annotations

import random


def new_traceparent(job_id: str) -> str:
    """A traceparent for a job that came without one: the job's id is its trace id, so that logs can be joined by it.

    The flags are 00: no caller has decided to record a span. A span id must differ from others, not be hard to guess.
    """
    return f"00-{job_id.replace('-', '')}-{random.getrandbits(64) or 1:016x}-00"
