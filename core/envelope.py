"""The metadata that travels with a payload: text headers, and nothing else, on every broker.

A message is a CloudEvent 1.0 in binary mode of the AMQP binding: `cloudEvents_*` headers, and the payload as the body.
Headrace's additions have headers of their own, `headrace-*`; the trace context is W3C's.

Versions that this release reads: 1 (`headrace-version: 1`), and 0, which is a bare CloudEvent as any other producer
sends it, with none of our headers. Everything else is refused with `UnknownVersion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.clock import from_rfc3339, rfc3339, within
from core.errors import EnvelopeError, UnknownVersion
from core.identity import is_job_id

VERSION = 1
SOURCE = "/headrace"
CONTENT_TYPE = "application/json"

_TRACE_HEADERS = ("traceparent", "tracestate", "baggage")
# The sum of trace headers that we carry: tracestate is at most 512 characters, baggage 8,192 (W3C).
_MAX_TRACE_HEADER = 8192
# Counts have at most 9 digits: longer ones are refused when they are read, so none is written either.
_MOST = 999_999_999


@dataclass(frozen=True, slots=True)
class Envelope:
    """The metadata of a delivery besides its payload.

    accepted_at, deadline: Unix seconds.
    attempt: the run that this message asks for, 1 first.
    crashes: how many attempts in a row ended with the process that ran them, the last ones: it may be what kills.
    replay: how often an operator has replayed it.
    astray: how often in a row it came to a process that has no handler for it.
    trace: traceparent, tracestate and baggage, as they came.
    """

    job_id: str
    job_type: str
    accepted_at: float
    attempt: int = 1
    replay: int = 0
    crashes: int = 0
    astray: int = 0
    priority: int = 0
    deadline: float | None = None
    trace: tuple[tuple[str, str], ...] = ()
    source: str = SOURCE

    def headers(self) -> dict[str, str]:
        """The headers that `read` gives this envelope back from."""
        headers = {
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": self.job_id,
            "cloudEvents_source": self.source,
            "cloudEvents_type": self.job_type,
            "cloudEvents_time": rfc3339(self.accepted_at),
            "headrace-version": "1",
            "headrace-attempt": str(self.attempt),
        }
        if self.replay:
            headers["headrace-replay"] = str(self.replay)
        if self.crashes:
            headers["headrace-crashes"] = str(self.crashes)
        if self.astray:
            headers["headrace-astray"] = str(self.astray)
        if self.priority:
            headers["headrace-priority"] = str(self.priority)
        if self.deadline is not None:
            headers["headrace-deadline"] = rfc3339(self.deadline)
        headers.update(self.trace)
        return headers

    def next_attempt(self) -> Envelope:
        """The envelope of the run after this one, which ended in its process."""
        return replace(self, attempt=min(self.attempt + 1, _MOST), crashes=0, astray=0)

    def after_crash(self) -> Envelope:
        """The envelope of the run after this one, which its process did not outlive."""
        return replace(self, attempt=min(self.attempt + 1, _MOST), crashes=min(self.crashes + 1, _MOST), astray=0)

    def gone_astray(self) -> Envelope:
        """The envelope of the same run, which another process is to begin."""
        return replace(self, astray=min(self.astray + 1, _MOST))

    def replayed(self, number: int, *, crashed: bool = False) -> Envelope:
        """The envelope of this replay: attempts start again at 1, and the deadline is gone, or it would expire at once.

        crashed: it died of a crash, so that its first run is again that of what may kill.
        """
        crashes = max(1, self.crashes) if crashed else 0
        return replace(self, attempt=1, crashes=crashes, astray=0, replay=min(number, _MOST), deadline=None)

    @property
    def trace_id(self) -> str | None:
        """The 32 hex digits of the trace id, if there is a traceparent."""
        parent = dict(self.trace).get("traceparent")
        return parent[3:35] if parent else None

    @classmethod
    def read(cls, headers: Mapping[str, str], now: float) -> Envelope:
        """Read headers. Raises UnknownVersion, or EnvelopeError naming the header that is missing or wrong.

        Every envelope that was read can be written: `read(envelope.headers())` gives the same one. So times are of
        the years 1 to 9999, and to the millisecond; a time outside becomes the nearest.

        `now` (Unix seconds) stands in for the time of a CloudEvent that has none: CloudEvents makes it optional.
        """
        version = headers.get("headrace-version", "0")
        if version not in ("0", "1"):
            raise UnknownVersion(f"headrace-version {version!r}; this release reads 0 and {VERSION}")
        if headers.get("cloudEvents_specversion") != "1.0":
            raise EnvelopeError(f"cloudEvents_specversion must be '1.0', not {headers.get('cloudEvents_specversion')!r}")
        time = headers.get("cloudEvents_time")
        deadline = headers.get("headrace-deadline")
        return cls(
            job_id=_job_id(headers),
            job_type=_required(headers, "cloudEvents_type"),
            accepted_at=within(now) if time is None else _time("cloudEvents_time", time),
            attempt=_count(headers, "headrace-attempt", 1),
            replay=_count(headers, "headrace-replay", 0),
            crashes=_count(headers, "headrace-crashes", 0),
            astray=_count(headers, "headrace-astray", 0),
            priority=min(_count(headers, "headrace-priority", 0), 9),
            deadline=None if deadline is None else _time("headrace-deadline", deadline),
            trace=tuple((name, headers[name]) for name in _TRACE_HEADERS if name in headers),
            source=_required(headers, "cloudEvents_source"),
        )


def trace_headers(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """The W3C trace context of a request, for `Envelope.trace`; a malformed or too long part is left out.

    headers: as ASGI gives them, names in lower case.
    """
    parent = headers.get(b"traceparent")
    if parent is None or not _is_traceparent(text := parent.decode("latin-1")):
        return ()
    kept = [("traceparent", text)]
    for name in _TRACE_HEADERS[1:]:
        value = headers.get(name.encode())
        if value and len(value) <= _MAX_TRACE_HEADER:
            kept.append((name, value.decode("latin-1")))
    return tuple(kept)


def _is_traceparent(text: str) -> bool:
    """Version 00 of W3C Trace Context: `00-<32 hex>-<16 hex>-<2 hex>`, no id all zero."""
    if len(text) != 55 or not text.startswith("00-") or text[35] != "-" or text[52] != "-":
        return False
    trace, span = text[3:35], text[36:52]
    digits = trace + span + text[53:]
    return all(c in "0123456789abcdef" for c in digits) and trace.strip("0") != "" and span.strip("0") != ""


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not isinstance(value, str) or not value:
        raise EnvelopeError(f"header {name} is missing")
    return value


def _job_id(headers: Mapping[str, str]) -> str:
    job_id = _required(headers, "cloudEvents_id")
    if not is_job_id(job_id):
        raise EnvelopeError(f"cloudEvents_id must be a UUID in its canonical spelling, not {job_id[:64]!r}")
    return job_id


def _time(name: str, text: str) -> float:
    try:
        return within(from_rfc3339(text))
    except (TypeError, ValueError):
        raise EnvelopeError(f"{name} must be an RFC 3339 timestamp, not {str(text)[:64]!r}") from None


def _count(headers: Mapping[str, str], name: str, default: int) -> int:
    text = headers.get(name)
    if text is None:
        return default
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < default:
        raise EnvelopeError(f"{name} must be a whole number from {default}, not {str(text)[:64]!r}")
    return int(text)
