"""Records as the API shows them."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

import orjson

from core.clock import rfc3339
from core.journal import ScalingRecord
from core.ports import DeadLetter, DeliveryRecord, Failure, JobRecord


def job(record: JobRecord) -> dict[str, Any]:
    return {
        "job_id": record.job_id,
        "job_type": record.job_type,
        "accepted_at": rfc3339(record.accepted_at),
        "deliveries": [_delivery(delivery) for delivery in record.deliveries],
    }


def dead_letter(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    """whole: with payload, headers and traceback."""
    shown: dict[str, Any] = {
        "dead_id": letter.dead_id,
        "queue": letter.queue,
        "job_id": letter.job_id,
        "job_type": letter.job_type,
        "reason": letter.reason.value,
        "attempts": letter.attempts,
        "died_at": rfc3339(letter.died_at),
        "replayed_at": _time(letter.replayed_at),
        "error": _failure(letter.failure, whole=whole),
    }
    return shown | {"headers": letter.headers, **_payload(letter.body)} if whole else shown


def scaling(record: ScalingRecord) -> dict[str, Any]:
    return asdict(record) | {"at": rfc3339(record.at)}


def _delivery(record: DeliveryRecord) -> dict[str, Any]:
    return {
        "queue": record.queue,
        "state": record.state.value,
        "attempts": record.attempts,
        "replays": record.replay,
        "started_at": _time(record.started_at),
        "ended_at": _time(record.ended_at),
        "next_attempt_at": _time(record.next_at),
        "progress": _json(record.progress),
        "result": _json(record.result),
        "error": _failure(record.failure, whole=False),
    }


def _payload(body: bytes) -> dict[str, Any]:
    try:
        return {"payload": orjson.loads(body)}
    except orjson.JSONDecodeError:
        return {"payload_base64": base64.b64encode(body).decode()}


def _failure(failure: Failure | None, *, whole: bool) -> dict[str, str] | None:
    if failure is None:
        return None
    shown = {"kind": failure.kind, "message": failure.message}
    return shown | {"traceback": failure.traceback} if whole else shown


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
