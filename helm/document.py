"""Makes values.schema.json, and the table of values in README.md, from values.yaml: `python -m helm.document`.

A comment above a key describes it; a line `@schema {…}` in it adds to the key's JSON schema. Types come from the defaults.
A mapping without such a line is a section: it takes no other keys than values.yaml has. A line `@each` makes a key an option of
pods: each section with a line `@pods` takes it too, without naming it. With `@each @placed` sections with a line `@placed` do, too.
A line `@optional` says that null is as good as empty, for helm/nulls.py.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic_settings import BaseSettings

from autoscaler.model import Policy
from autoscaler.settings import ControllerSettings
from core.settings import old_name
from service.settings import GatewaySettings

CHART: Final = Path(__file__).parent / "headrace"
BEGIN, END = "<!-- values: made by `make docs` -->", "<!-- end of values -->"
_MARK: Final = "@schema "
_EACH, _PODS, _PLACED, OPTIONAL = "@each", "@pods", "@placed", "@optional"

Json = dict[str, Any]
Options = Mapping[str, Sequence[str]]  # of pods, by their keys at the top: those that a section with a mark takes


@dataclasses.dataclass(frozen=True)
class Value:
    """One key. schema: of its `@schema` line, or empty. inner: what a section has in it. marks: further lines."""

    key: str
    description: str
    schema: Json
    default: Any
    inner: Sequence[Value] = ()
    marks: frozenset[str] = frozenset()


def read(text: str) -> Sequence[Value]:
    """The values of a values.yaml. Raises ValueError for a key that nothing describes."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_read(root, text.splitlines())) if isinstance(root, yaml.MappingNode) else []


def schema(values: Iterable[Value]) -> Json:
    """The JSON schema of all values, draft 7."""
    values = list(values)
    options = {
        mark: [value.key for value in values if {_EACH, of} <= value.marks] for mark, of in ((_PODS, _EACH), (_PLACED, _PLACED))
    }
    whole = _section(values, options)
    defaults = whole["properties"]["consumerDefaults"]["properties"]
    said = {key: {"description": of["description"]} for key, of in defaults.items() if key in options[_PODS]}
    written = {key: whole["properties"][key] | own for key, own in said.items()}
    clearable = {key: _clearable(of) for key, of in (defaults | written).items()}
    consumer = _closed({"queues": _QUEUES, **clearable}, required=["queues"])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of Headrace",
        **whole,
        "definitions": {
            "name": _NAME,
            "resources": _RESOURCES,
            "clearableResources": _clearable_resources(),
            "policy": _policy(),
            "gatewaySetting": _names(GatewaySettings),
            "controllerSetting": _names(ControllerSettings),
            "consumer": consumer,
        },
    }


def table(values: Iterable[Value]) -> str:
    rows = [
        f"| `{path}` | | Each option of pods, from {_RANGES[mark]}, as above. |"
        if (mark := _mark(value))
        else f"| `{path}` | `{json.dumps(value.default)}` | {value.description} |"
        for path, value in _leaves(values)
    ]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows])


def readme(values: Iterable[Value], text: str) -> str:
    """The README with a new table."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table(values)}\n{END}{rest.partition(END)[2]}"


def _read(node: yaml.MappingNode, lines: Sequence[str]) -> Iterator[Value]:
    for key, value in node.value:
        line = key.start_mark.line
        description, extra, marks = _comment(lines[:line])
        inner = list(_read(value, lines)) if isinstance(value, yaml.MappingNode) and not extra else []
        if not description and not inner:
            raise ValueError(f"values.yaml, line {line + 1}: no comment describes {key.value}")
        yield Value(key.value, description, extra, yaml.SafeLoader("").construct_document(value), inner, marks)


def _comment(above: Sequence[str]) -> tuple[str, Json, frozenset[str]]:
    """The text of the comment that ends these lines, its `@schema`, and its other marks."""
    said: list[str] = []
    extra: Json = {}
    marks: set[str] = set()
    for line in reversed(above):
        words = line.strip()
        if not words.startswith("#"):
            break
        words = words.removeprefix("#").strip()
        if words.startswith(_MARK):
            extra = json.loads(words.removeprefix(_MARK))
        elif words and {_EACH, _PODS, _PLACED, OPTIONAL}.issuperset(words.split()):
            marks.update(words.split())
        else:
            said.insert(0, words)
    return " ".join(said), extra, frozenset(marks)


def _leaves(values: Iterable[Value], path: str = "") -> Iterator[tuple[str, Value]]:
    for value in values:
        if value.inner:
            yield from _leaves(value.inner, f"{path}{value.key}.")
            if _mark(value):
                yield f"{path}{value.key}.…", value
        else:
            yield f"{path}{value.key}", value


def _mark(value: Value) -> str:
    """By which a section takes options of pods; empty where it takes none."""
    return next((mark for mark in (_PODS, _PLACED) if value.inner and mark in value.marks), "")


def _section(values: Iterable[Value], options: Options) -> Json:
    return _closed({value.key: _property(value, options) for value in values})


def _property(value: Value, options: Options) -> Json:
    said = {"description": value.description or f"Values of {value.key}."}
    if value.inner:
        section = _section(value.inner, options)
        section["properties"] |= {key: _option(key) for key in options.get(_mark(value), ())}
        return said | section
    if "$ref" in value.schema:  # what stands beside a $ref is not read
        return {**said, "allOf": [value.schema]}
    return said | ({} if "enum" in value.schema else {"type": _TYPES[type(value.default)]}) | value.schema


def _option(key: str) -> Json:
    """Written once, at the top, where it is for all pods."""
    return {"description": f"`{key}` of these pods alone.", "allOf": [{"$ref": f"#/properties/{key}"}]}


def _policy() -> Json:
    """The fields of a scaling policy; the program checks their bounds."""
    kinds: dict[str, Json] = {"int": {"type": "integer"}, "float": {"type": "number"}}
    return _closed({field.name: kinds.get(str(field.type), _FLOORS) for field in dataclasses.fields(Policy)})


def _clearable(schema: Json) -> Json:
    """Of an entry of `consumers`: a mapping whose keys are the user's, or a list, may be null, and so may a mapping's strings."""
    if schema.get("allOf") == [{"$ref": "#/definitions/resources"}]:
        return {**schema, "allOf": [{"$ref": "#/definitions/clearableResources"}]}
    if "allOf" in schema:  # the policy
        return {key: value for key, value in schema.items() if key != "allOf"} | {"anyOf": [*schema["allOf"], {"type": "null"}]}
    if schema.get("type") not in ("array", "object") or "properties" in schema:
        return schema
    made = {**schema, "type": [schema["type"], "null"]}
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = _nullable(made["additionalProperties"])
    if "patternProperties" in made:
        made["patternProperties"] = {key: _nullable(of) for key, of in made["patternProperties"].items()}
    return made


def _clearable_resources() -> Json:
    parts = {key: _nullable({**of, "additionalProperties": _nullable(_QUANTITY)}) for key, of in _RESOURCES["properties"].items()}
    return _nullable(_closed(parts))


def _nullable(schema: Json) -> Json:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*types, *([] if "null" in types else ["null"])]}


def _names(settings: type[BaseSettings]) -> Json:
    """The names that settings may have: those of the release before are read, too."""
    old = {old_name(field) for field in settings.model_fields.values()} - {""}
    return {"enum": sorted(name.upper() for name in {*settings.model_fields, *old})}


def _closed(properties: Json, **more: object) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


_RANGES: Final = {_PODS: "`env` to `serviceAccount`", _PLACED: "`podLabels` to `dnsConfig`"}
_TYPES: Final = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
_STRING: Final[Json] = {"type": "string"}
_NAME: Final = _closed({"name": _STRING}, required=["name"])
_QUANTITY: Final[Json] = {"type": ["string", "number"]}
_QUANTITIES: Final[Json] = {"type": "object", "additionalProperties": _QUANTITY}
_RESOURCES: Final = _closed({"requests": _QUANTITIES, "limits": _QUANTITIES})
_FLOOR: Final = _closed(
    {"cron": _STRING, "replicas": {"type": "integer", "minimum": 0}, "zone": _STRING}, required=["cron", "replicas"]
)
_FLOORS: Final[Json] = {"type": "array", "items": _FLOOR}
# Of a consumer, besides what `consumerDefaults` has.
_QUEUES: Final[Json] = {
    "description": "The queues that it consumes. A queue is in one entry only.",
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}


def files() -> dict[Path, str]:
    """The generated texts, by their paths."""
    values = read((CHART / "values.yaml").read_text(encoding="utf-8"))
    made, page = json.dumps(schema(values), indent=2, ensure_ascii=False), CHART / "README.md"
    return {CHART / "values.schema.json": made + "\n", page: readme(values, page.read_text(encoding="utf-8"))}


def main() -> int:
    """Write both. The exit code: 0."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
