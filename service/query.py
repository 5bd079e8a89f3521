"""Unknown query parameters are refused: a mistyped filter that is ignored does more than was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes

from core import payload
from service.errors import Problem

_SHOWN = 64  # characters of a name that is not ours


def refuse(query: bytes, taken: Mapping[str, bool]) -> None:
    """Raises Problem (422) for a parameter that is unknown, or stands twice and may not.

    taken: the names that are allowed, and whether each may stand several times.
    """
    given = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    for name, times in given.items():
        if name not in taken:
            raise _problem(name, f"There is no query parameter {name[:_SHOWN]!r} here; allowed: {_listed(taken)}.")
        if times > 1 and not taken[name]:
            raise _problem(name, f"The query parameter {name!r} stands {times} times; give it once.")


async def only_known(request: Request) -> None:
    """A dependency of every route: its query has only parameters that the route takes, its JSON no key twice.

    Raises Problem, and MalformedBody. Unknown fields of a body are refused by its model (`extra="forbid"`).
    """
    route = request.scope.get("route")
    if request.scope["query_string"]:
        refuse(request.scope["query_string"], _taken(route))
    if getattr(route, "body_field", None) is not None and "json" in request.headers.get("content-type", ""):
        payload.parse(await request.body())


def _taken(route: Any) -> dict[str, bool]:
    fields = get_flat_params(route.dependant)
    return {
        field.alias: _is_list(field.field_info.annotation)
        for field in fields
        if getattr(field.field_info, "in_", None) is ParamTypes.query
    }


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return any(_is_list(part) for part in get_args(annotation))
    kind = origin or annotation
    return isinstance(kind, type) and issubclass(kind, Collection) and not issubclass(kind, (str, bytes))


def _problem(name: str, detail: str) -> Problem:
    return Problem("bad-parameter", detail, errors=[{"pointer": f"/query/{name[:_SHOWN]}", "detail": detail}])


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
