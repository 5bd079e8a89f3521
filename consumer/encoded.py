"""The values that a handler gives us to keep, as JSON text: its result, and its progress."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel

from core.text import text_of

# A record is for people; a longer text belongs into the handler's own store.
MAX_RESULT = 262_144  # bytes


class NotKept(Exception):
    """It is no JSON, or too long; the text says which."""


def encoded(value: Any) -> str:
    """JSON text of at most MAX_RESULT bytes. Raises NotKept, and nothing else, whatever the value's own code does."""
    try:
        data = orjson.dumps(value, default=_plain)
    except BaseException as error:  # its `__str__` and its serialisers are a handler's code
        raise NotKept(f"it is not JSON: {text_of(error, 200)}") from None
    if len(data) > MAX_RESULT:
        raise NotKept(f"it has {len(data)} bytes; at most {MAX_RESULT} are kept")
    return data.decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)
