"""Makes values.schema.json, and the table in README.md, from values.yaml: `python helm/document.py`.

A comment above a key describes it. A line `@schema {…}` in it is merged into the key's JSON schema. Types come from the defaults,
and every object is closed unless such a line opens it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic_settings import BaseSettings

from autoscaler.model import Policy
from autoscaler.settings import ControllerSettings
from service.settings import GatewaySettings

CHART: Final = Path(__file__).parent / "headrace"
BEGIN, END = "<!-- values: made by `make chart-docs` -->", "<!-- end of values -->"
_MARK: Final = "@schema "
_TYPES: Final = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "string",
    "seq": "array",
    "map": "object",
    "null": "null",
}
_QUANTITY: Final = {"type": ["string", "number"]}
# Of a consumer, besides what `consumerDefaults` has.
_QUEUES: Final = {
    "description": "The queues that it consumes. A queue is in one entry only.",
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1},
}

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Value:
    """One key. path: with dots. default: as it is written."""

    path: str
    default: str
    description: str
    more: Json
    node: yaml.Node


class Values:
    """values.yaml with its comments."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self.root = yaml.compose(text, Loader=yaml.SafeLoader)

    def children(self, node: yaml.Node, path: str = "") -> Iterator[Value]:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            description, more = self._comment(key.start_mark.line)
            yield Value(f"{path}{key.value}", _default(value), description, more, value)

    def _comment(self, line: int) -> tuple[str, Json]:
        above: list[str] = []
        while line > 0 and self._lines[line - 1].strip().startswith("#"):
            line -= 1
            above.insert(0, self._lines[line].strip().lstrip("#").strip())
        marks = [words for words in above if words.startswith(_MARK)]
        return " ".join(words for words in above if words not in marks), json.loads(marks[0][len(_MARK) :]) if marks else {}


def schema(values: Values) -> Json:
    """The JSON schema of all values, draft 7. Raises ValueError for a key without a description."""
    whole = _object(values, values.root)
    consumer = dict(whole["properties"]["consumerDefaults"])
    consumer.pop("description")
    one = {**consumer, "properties": {"queues": _QUEUES, **consumer["properties"]}, "required": ["queues"]}
    definitions = {
        "name": _NAME,
        "resources": _RESOURCES,
        "policy": _policy(),
        "gatewaySetting": _settings(GatewaySettings),
        "controllerSetting": _settings(ControllerSettings),
        "consumer": one,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of Headrace",
        **whole,
        "definitions": definitions,
    }


def table(values: Values) -> str:
    rows = [f"| `{value.path}` | {value.default} | {value.description} |" for value in _leaves(values, values.root, "")]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows])


def readme(values: Values, text: str) -> str:
    """The README with a new table."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table(values)}\n{END}{rest.split(END)[1]}"


def _object(values: Values, node: yaml.Node) -> Json:
    properties = {value.path: _property(values, value) for value in values.children(node)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(values: Values, value: Value) -> Json:
    inner = any(not child.more and child.description for child in values.children(value.node)) or any(
        child.more for child in values.children(value.node)
    )
    if not value.description and not inner:
        raise ValueError(f"values.yaml: {value.path} has no comment that describes it")
    if "$ref" in value.more:  # what stands beside a $ref is not read
        return {"description": value.description, "allOf": [value.more]}
    made: Json = {"description": value.description or f"Values of {value.path}."}
    if "enum" in value.more:
        return made | value.more
    kind = _TYPES[value.node.tag.rsplit(":", 1)[1]]
    if kind == "object" and "additionalProperties" not in value.more:
        made |= _object(values, value.node)
    else:
        made["type"] = kind
    return made | value.more


def _leaves(values: Values, node: yaml.Node, path: str) -> Iterator[Value]:
    for value in values.children(node, path):
        deeper = [child for child in values.children(value.node) if child.description or child.more or _inner(values, child)]
        if deeper and not value.more:
            yield from _leaves(values, value.node, f"{value.path}.")
        else:
            yield value


def _inner(values: Values, value: Value) -> bool:
    return any(child.description for child in values.children(value.node))


def _default(node: yaml.Node) -> str:
    value = yaml.SafeLoader("").construct_document(node) if not isinstance(node, yaml.ScalarNode) else yaml.safe_load(node.value)
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith("str"):
        value = node.value
    return f"`{json.dumps(value)}`"


def _settings(kind: type[BaseSettings]) -> Json:
    return {"enum": sorted(name.upper() for name in kind.model_fields)}


def _policy() -> Json:
    """The fields of a scaling policy; the program checks their bounds."""
    kinds: dict[str, Json] = {"int": {"type": "integer"}, "float": {"type": "number"}}
    properties = {field.name: kinds.get(str(field.type), _FLOORS) for field in dataclasses.fields(Policy)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


_FLOORS: Final[Json] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["cron", "replicas"],
        "additionalProperties": False,
        "properties": {
            "cron": {"type": "string"},
            "replicas": {"type": "integer", "minimum": 0},
            "zone": {"type": "string"},
        },
    },
}
_NAME: Final[Json] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": {"type": "string"}},
}
_RESOURCES: Final[Json] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        name: {"type": "object", "additionalProperties": _QUANTITY} for name in ("requests", "limits")
    },
}  # fmt: skip


def main() -> int:
    """Write both. The exit code: 0."""
    values = Values((CHART / "values.yaml").read_text(encoding="utf-8"))
    made = json.dumps(schema(values), indent=2, ensure_ascii=False)
    (CHART / "values.schema.json").write_text(made + "\n", encoding="utf-8")
    page = CHART / "README.md"
    page.write_text(readme(values, page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
