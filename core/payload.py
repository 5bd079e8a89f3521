"""From bytes to a payload: the one parse and the one validation of a job."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import jiter
from pydantic import BaseModel, ValidationError

from core.errors import InvalidPayload, MalformedBody, Problem

MAX_PROBLEMS = 50

Model = TypeVar("Model", bound=BaseModel)


def parse(body: bytes) -> Any:
    """Parse JSON, with the rules of `parse_object`, into whatever it is. Raises MalformedBody."""
    try:
        return jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise MalformedBody(str(error)) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse one JSON object (RFC 8259, and I-JSON's rule of RFC 7493 that no key stands twice).

    Raises MalformedBody for anything else: bad UTF-8, NaN and Infinity, nesting deeper than 200, a duplicate key.
    """
    parsed = parse(body)
    if not isinstance(parsed, dict):
        raise MalformedBody(f"the body is a JSON {_name(parsed)}; a job's payload is an object")
    return parsed


def read(model: type[Model], body: bytes) -> Model:
    """The payload in `body`. Raises MalformedBody or InvalidPayload, with a JSON pointer to each field that is wrong.

    The parsed object is validated as it is. Only a model with strict fields is given the bytes again, because pydantic
    takes a JSON string for a strict datetime, and a Python one not.
    """
    parsed = parse_object(body)
    try:
        return model.model_validate_json(body) if _strict(model) else model.model_validate(parsed)
    except ValidationError as error:
        raise InvalidPayload(_problems(error)) from None


@cache
def _strict(model: type[BaseModel]) -> bool:
    return "'strict': True" in repr(model.__pydantic_core_schema__)


def _problems(error: ValidationError) -> list[Problem]:
    return [
        Problem("".join(f"/{_escape(part)}" for part in item["loc"]), item["msg"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)[:MAX_PROBLEMS]
    ]


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _name(value: object) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
