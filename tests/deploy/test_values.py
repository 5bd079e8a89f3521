"""The values: each is in the schema, with a description; an unknown value, or one of a wrong type, is refused at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.deploy.render import CHART, combinations, merged, refused

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# Objects whose keys are the user's: names of consumers, a job's payload, labels, what a parent chart shares, names of resources.
FREE = {"global", "consumers", "test.payload", "monitoring.dashboardLabels"}
FREE_ENDS = (".requests", ".limits")


def objects(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the objects in the values; () is all of them. In an empty one every key is the user's."""
    yield path
    for key, part in value.items():
        if isinstance(part, dict) and part:
            yield from objects(part, (*path, key))


def keys(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the keys whose meaning is the chart's."""
    for key, part in value.items():
        yield (*path, key)
        if isinstance(part, dict) and not _free((*path, key)) and key != "resources":  # whose keys are Kubernetes'
            yield from keys(part, (*path, key))


def _free(path: tuple[str, ...]) -> bool:
    name = ".".join(path)
    return name in FREE or name.endswith(FREE_ENDS)


def _at(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


CLOSED = [path for path in objects(VALUES) if not _free(path)]


@pytest.mark.needs("helm")
@pytest.mark.parametrize("path", CLOSED, ids=lambda path: ".".join(path) or "all")
def test_a_typo_is_refused(path: tuple[str, ...]) -> None:
    said = refused(_at((*path, "typo"), 1))
    assert "typo" in said, f"{'.'.join(path)}: a typo in it is passed over"


@pytest.mark.needs("helm")
@pytest.mark.parametrize("name", ["registration", "another"])
def test_a_typo_in_a_consumer_is_refused(name: str) -> None:
    """In one that there is by default, and in one that is new; and below it."""
    value: dict[str, Any]
    for value in ({"typo": 1}, {"resources": {"typo": {}}}, {"policy": {"typo": 1}}, {"podDisruptionBudget": {"typo": True}}):
        assert "typo" in refused({"consumers": {name: {"queues": ["points"], **value}}})
    assert refused({"consumers": {"another": {}}}), "one without queues is taken"
    assert refused({"consumers": {"Not_A_Name": {"queues": ["points"]}}})


@pytest.mark.parametrize("path", list(keys(VALUES)), ids=".".join)
def test_every_key_is_described(path: tuple[str, ...]) -> None:
    schema: dict[str, Any] = SCHEMA
    for key in path:
        schema = _whole(_whole(schema)["properties"][key])
    assert schema.get("description"), f"{'.'.join(path)} has no description"


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """With what its references say."""
    for part in (schema, *schema.get("allOf", [])):
        if "$ref" in part:
            schema = {**SCHEMA["definitions"][part["$ref"].rpartition("/")[2]], **schema}
    return schema


def test_nothing_is_in_the_schema_that_is_not_in_the_values() -> None:
    validator = Draft7Validator(SCHEMA)
    Draft7Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == set(VALUES)
    assert [error.message for error in validator.iter_errors(VALUES)] == []


def test_every_helm_reads_the_schema() -> None:
    """Helm 3.17's validator knows no later draft, and takes a schema of one for a schema that allows everything."""
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("path", list(keys(VALUES)), ids=".".join)
def test_a_wrong_type_is_refused(path: tuple[str, ...]) -> None:
    """A list of lists is what no value is."""
    wrong = merged(VALUES, _at(path, [["wrong"]]))
    assert list(Draft7Validator(SCHEMA).iter_errors(wrong)), f"{'.'.join(path)} may be anything"


@pytest.mark.needs("helm")
@pytest.mark.parametrize("path", combinations(), ids=lambda path: path.name)
def test_the_combinations_are_valid(path: Path) -> None:
    assert refused(path) == ""


@pytest.mark.needs("helm")
def test_a_parent_chart_may_share_values() -> None:
    assert refused({"global": {"imageRegistry": "registry.example"}}) == ""


def test_all_combinations_are_there() -> None:
    """The values files that Helm's own lint, chart-testing and this suite use."""
    assert {path.name for path in combinations()} >= {"dev-values.yaml", "external-values.yaml", "operator-values.yaml"}
