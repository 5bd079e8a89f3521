"""Records as Redis has them, and back. A record that cannot be read or written is BadRecord: its own fault, not the server's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgpack
import orjson

from core.errors import BadRecord
from core.model import Reason, State
from core.ports import Claim, DeadLetter, DeliveryRecord, Failure, JobRecord, Outcome, Queued

Arguments = tuple[Any, ...]
_LAST = 9e10  # the year 4821: a later time is that. In ms it has 14 digits, as many as Lua writes out
_STATES = {state: state.value for state in State}  # a third of the time of an enumeration's own `value`


@contextmanager
def written(what: str) -> Iterator[None]:
    """Raises BadRecord for what cannot be encoded."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRecord(f"{what} cannot be written: {type(error).__name__}: {error}") from None


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raises BadRecord for what is stored otherwise than we write it."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise BadRecord(f"{what} cannot be read: {type(error).__name__}: {error}") from None


def of_queued(record: Queued) -> Arguments:
    return record.job_type, record.accepted_at, record.queues


def of_claim(c: Claim) -> Arguments:
    return c.queue, c.job_type, c.accepted_at, c.replay, c.attempt, c.token, int(c.lease * 1000)


def of_outcome(o: Outcome) -> Arguments:
    c, next_at, delay = o.claim, o.next_at, 0
    if next_at is not None:
        next_at = min(max(0.0, next_at), _LAST)
        delay = int(min(o.delay, _LAST / 2) * 1000)
    return (
        *(c.queue, c.job_type, c.accepted_at, c.replay, c.attempt, c.token, _STATES[o.state]),
        *("" if o.state is State.QUEUED else o.at, "" if next_at is None else next_at, delay),
        *(o.result or "", _failure_text(o.failure), b"" if o.dead is None else packed(o.dead)),
    )


def pack(items: Sequence[Arguments] | dict[str, Any]) -> bytes:
    """For a script: one text for a whole batch costs a third of an argument for each field. Raises what `written` catches."""
    text: bytes = msgpack.packb(items, use_bin_type=False)  # the script's library knows no binary type
    return text


def packed(letter: DeadLetter) -> bytes:
    """For a script. Raises what `written` catches."""
    if not math.isfinite(letter.died_at):
        raise ValueError(f"no time of death: {letter.died_at}")
    fields = {
        "id": letter.dead_id,
        "queue": letter.queue,
        "reason": letter.reason.value,
        "died_at": repr(letter.died_at),
        "attempts": letter.attempts,
        "headers": orjson.dumps(letter.headers),
        "body": letter.body,
        "job_id": letter.job_id or "",
        "job_type": letter.job_type or "",
        "failure": _failure_text(letter.failure),
    }
    return pack(fields)


def letter_of(dead_id: str, found: dict[bytes, bytes]) -> DeadLetter:
    """Raises BadRecord."""
    with reading(f"the dead letter {dead_id}"):
        text = {name.decode(): value.decode() for name, value in found.items() if name not in (b"body", b"headers")}
        return DeadLetter(
            dead_id,
            text["queue"],
            Reason(text["reason"]),
            float(text["died_at"]),
            orjson.loads(found[b"headers"]),
            found[b"body"],
            int(text["attempts"]),
            text["job_id"] or None,
            text["job_type"] or None,
            _failure(text["failure"]),
            float(text["replayed_at"]) if "replayed_at" in text else None,
        )


def job_of(job_id: str, found: dict[bytes, bytes]) -> JobRecord:
    """Raises BadRecord."""
    with reading(f"the job {job_id}"):
        fields = {name.decode(): value.decode() for name, value in found.items()}
        queues = sorted(name[2:] for name in fields if name.startswith("c:"))
        return JobRecord(job_id, fields["type"], float(fields["at"]), tuple(_delivery(queue, fields) for queue in queues))


def _delivery(queue: str, fields: dict[str, str]) -> DeliveryRecord:
    state, replay, attempt, *_ = fields[f"c:{queue}"].split("|")
    started, ended, due = (fields.get(f"{name}:{queue}", "") for name in ("started", "ended", "next"))
    return DeliveryRecord(
        queue,
        State(state),
        int(attempt),
        int(replay),
        int(started) / 1000 if started else None,
        float(ended) if ended else None,
        float(due) if due else None,
        fields.get(f"result:{queue}") or None,
        _failure(fields.get(f"failure:{queue}", "")),
        fields.get(f"progress:{queue}"),
    )


def _failure_text(failure: Failure | None) -> str:
    return orjson.dumps(failure).decode() if failure else ""


def _failure(text: str) -> Failure | None:
    return Failure(**orjson.loads(text)) if text else None
