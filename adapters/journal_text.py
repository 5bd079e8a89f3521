"""A journal's record as JSON text and back.

Programs of two versions read one journal, in an upgrade and after one that was taken back: a field that this one does not know is
left out, and one that is new is written only where it says something, since 0.1.0 reads no record with a field more.
"""

from __future__ import annotations

from dataclasses import asdict, fields

import orjson

from core.journal import AlertRecord, ScalingRecord

_KNOWN = {field.name for field in fields(ScalingRecord)}


def to_text(record: ScalingRecord) -> str:
    written = asdict(record)
    if not record.cordoned:
        del written["cordoned"]
    return orjson.dumps(written).decode()


def from_text(text: str | bytes) -> ScalingRecord:
    held = {name: value for name, value in orjson.loads(text).items() if name in _KNOWN}
    alerts = tuple(AlertRecord(**alert) for alert in held.pop("alerts"))
    return ScalingRecord(**held, alerts=alerts)
