"""The files that `make docs` makes are up to date with their sources, and the sources are complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from helm import dashboard, document, nulls
from telemetry import metrics

REMEDY = "run: make docs"


def test_the_schema_and_the_table_are_those_of_the_values() -> None:
    made = document.files()
    assert {path.name for path in made} == {"values.schema.json", "README.md"}
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: {REMEDY}"


def test_the_words_about_null_are_those_of_the_values() -> None:
    assert nulls.PATH.read_text(encoding="utf-8") == nulls.text(), REMEDY


def test_the_dashboard_is_the_code() -> None:
    assert dashboard.PATH.read_text(encoding="utf-8") == dashboard.text(), REMEDY


def test_the_chart_has_the_alert_rules_of_telemetry() -> None:
    rules = Path(metrics.__file__).parent / "rules" / "headrace.yaml"
    assert (document.CHART / "rules" / "headrace.yaml").read_bytes() == rules.read_bytes(), REMEDY


def test_the_schema_is_one_and_takes_the_defaults() -> None:
    schema = json.loads((document.CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((document.CHART / "values.yaml").read_text(encoding="utf-8")), schema)


VALUES = """
# What it is called.
name: headrace
part:
  # How many there are.
  # @schema {"minimum": 0}
  replicas: 2
  # Which one.
  # @schema {"enum": ["auto", true]}
  which: auto
# Labels of any name.
# @schema {"additionalProperties": {"type": "string"}}
labels: {}
# What each has.
each:
  # How large.
  # @schema {"$ref": "#/definitions/resources"}
  size: {}
"""


def test_a_comment_describes_and_a_mark_adds_and_a_mapping_without_one_is_closed() -> None:
    made = document.schema(
        [*document.read(VALUES), document.Value("consumerDefaults", "", {}, {}, [document.Value("min", "m", {}, 1)])]
    )
    properties = made["properties"]
    assert properties["name"] == {"description": "What it is called.", "type": "string"}
    assert properties["part"] == {
        "description": "Values of part.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "replicas": {"description": "How many there are.", "type": "integer", "minimum": 0},
            "which": {"description": "Which one.", "enum": ["auto", True]},
        },
    }
    assert properties["labels"] == {
        "description": "Labels of any name.",
        "type": "object",
        "additionalProperties": {"type": "string"},
    }
    size = {"description": "How large.", "allOf": [{"$ref": "#/definitions/resources"}]}
    assert properties["each"]["properties"] == {"size": size}
    assert set(made["definitions"]["consumer"]["properties"]) == {"queues", "min"}


NULLS = """
# It is empty, and may be missed.
name: ""
# null is never.
# @schema {"type": ["integer", "null"]}
seconds: 3
# Labels of any name.
# @schema {"additionalProperties": {"type": "string"}}
labels: {a: b}
# What is at its end.
# @optional
near: [a]
# @optional
tls:
  # Which.
  secret: ""
  # Only that.
  only: false
part:
  # Whether it is there.
  enabled: true
  inner:
    # How many there are.
    replicas: 2
"""


def test_null_is_refused_where_the_templates_cannot_do_without_and_only_there() -> None:
    assert nulls.remedies(document.read(NULLS)) == {
        "tls.only": "leave it out for the default, false, or write another value.",
        "part": "leave it out for the defaults, or turn it off with part.enabled: false.",
        "part.enabled": "leave it out for the default, true, or write another value.",
        "part.inner": "leave it out for the defaults, or write what differs below it, such as part.inner.replicas.",
        "part.inner.replicas": "leave it out for the default, 2, or write another value.",
    }


PODS = """
# Where pods run.
# @each
# @schema {"additionalProperties": {"type": "string"}}
nodeSelector: {}
# @pods
part:
  # How many there are.
  replicas: 2
"""


def test_an_option_of_pods_is_taken_by_every_part_without_being_named_there() -> None:
    read = document.read(PODS)
    made = document.schema([*read, document.Value("consumerDefaults", "", {}, {}, [document.Value("min", "m", {}, 1)])])
    jsonschema.validate({"part": {"nodeSelector": {"a": "b"}}}, made)
    wrong: dict[str, Any]
    for wrong in ({"part": {"nodeSelector": {"a": 1}}}, {"part": {"tolerations": []}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, made)
    assert document.table(read).splitlines()[-1].startswith("| `part.…` |")


def test_the_table_has_a_row_for_each_value_that_can_be_set() -> None:
    rows = document.table(document.read(VALUES)).splitlines()[2:]
    assert rows == [
        '| `name` | `"headrace"` | What it is called. |',
        "| `part.replicas` | `2` | How many there are. |",
        '| `part.which` | `"auto"` | Which one. |',
        "| `labels` | `{}` | Labels of any name. |",
        "| `each.size` | `{}` | How large. |",
    ]


def test_a_value_that_nothing_describes_is_refused_by_line_and_name() -> None:
    with pytest.raises(ValueError, match=r"line 3: no comment describes replicas"):
        document.read("# Something.\nname: x\nreplicas: 2\n")
