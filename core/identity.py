"""Ids: of a job, of a dead letter, of a claim."""

from __future__ import annotations

import hashlib
import itertools
import re
import uuid

from uuid_utils import uuid7

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_PROCESS = uuid.uuid4().hex + "-"
_numbers = itertools.count()


def new_job_id() -> str:
    """A UUIDv7 (RFC 9562): sortable by the time at which it was made."""
    return str(uuid7())


def job_id_from_key(key: str, job_type: str, caller: str) -> str:
    """The job id that belongs to an Idempotency-Key: the same three give the same id, on any gateway, with no store.

    A UUIDv8 (RFC 9562, section 5.8): SHA-256 over the parts, each behind its length, so that no two triples collide
    by concatenation.
    """
    return _uuid8("job", caller, job_type, key)


def dead_id(queue: str, job_id: str, replay: int) -> str:
    """The id of the dead letter that a delivery leaves: one a replay, however often it is recorded."""
    return _uuid8("dead", queue, job_id, str(replay))


def is_job_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical spelling."""
    return _UUID.fullmatch(text) is not None


def claim_token() -> str:
    """A token that no other claim has, in this process or another. It need not be hard to guess."""
    return f"{_PROCESS}{next(_numbers):x}"


def _uuid8(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    value = bytearray(digest.digest()[:16])
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(value)))
