"""A journal's record as JSON text and back."""

from __future__ import annotations

import orjson

from jobs.journal import AlertRecord, ScalingRecord


def to_text(record: ScalingRecord) -> str:
    return orjson.dumps(record).decode()


def from_text(text: str | bytes) -> ScalingRecord:
    fields = orjson.loads(text)
    alerts = tuple(AlertRecord(**alert) for alert in fields.pop("alerts"))
    return ScalingRecord(**fields, alerts=alerts)
