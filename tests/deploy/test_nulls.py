"""null in the place of a value: refused by name with the remedy, or as good as empty. No template fails on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.checks.shape import nothing_is_null
from tests.deploy.release import Release, known_as
from tests.deploy.render import CHART, NEWEST, Values, refused
from tests.deploy.schemas import complaints
from tests.deploy.test_consumers import parent
from tests.servers.helm import helm, helms3

pytestmark = pytest.mark.needs("helm")

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
# With something in them by default, and yet null has a meaning: what is below is the user's, or can be missed.
MEANT = {
    "consumers.registration",
    "consumers.payouts",
    "monitoring.dashboardLabels",
    "monitoring.dashboardLabels.grafana_dashboard",
    "proxy.noProxy",
    "rabbitmq.operator.tls",
    "runAsUser",
    "rabbitmq.dev.runAsUser",
    "redis.dev.runAsUser",
    "test.payload",
}
MEANT_ENDS = ("resources", "requests", "limits")


def paths(value: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Of every key, those of mappings of the user's among them."""
    for key, part in value.items():
        yield (*above, key)
        if isinstance(part, dict):
            yield from paths(part, (*above, key))


def found(path: tuple[str, ...]) -> Any:
    value: Any = VALUES
    for key in path:
        value = value[key]
    return value


def null(path: tuple[str, ...]) -> dict[str, Any]:
    value: Any = None
    for key in reversed(path):
        value = {key: value}
    return dict(value)


PATHS = [path for path in paths(VALUES) if path != ("consumers",)]
MAPPINGS = [path for path in PATHS if isinstance(found(path), dict) and found(path)]
# But for quantities and what else the user alone names, and for what `render` sets itself.
OTHER = ("consumers", "offlinePasswords")
LEAVES = [path for path in PATHS if path not in MAPPINGS and path[0] not in OTHER and not {"resources", "payload"} & {*path}]


def _meant(path: tuple[str, ...]) -> bool:
    name = ".".join(path)
    return found(path) in ("", [], {}, None) or name in MEANT or path[-1] in MEANT_ENDS


def _line(said: str, path: tuple[str, ...]) -> str:
    """The one line of the refusal about that value, whole."""
    lines = [line.removeprefix("- ") for line in said.splitlines() if line.startswith("- ")]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"{'.'.join(path)} is null: leave it out"), said
    return lines[0]


@pytest.mark.parametrize("path", MAPPINGS, ids=".".join)
@pytest.mark.needs("helm3")
def test_every_helm_refuses_a_mapping_that_is_null(path: tuple[str, ...]) -> None:
    """By one line, which says what to do; or renders it without."""
    for program in (helm(), *helms3()):
        _refused_or_as_good_as_empty(path, program)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_any_other_value_that_is_null_is_refused_or_empty(path: tuple[str, ...]) -> None:
    _refused_or_as_good_as_empty(path, helm())


def _refused_or_as_good_as_empty(path: tuple[str, ...], program: Path) -> None:
    """The API server would store no null, and a strict schema lets it pass."""
    values: list[Values] = [*([CHART / "ci/operator-values.yaml"] if path[:2] == ("rabbitmq", "operator") else []), null(path)]
    said = refused(*values, program=program)
    if not _meant(path):
        assert ", or " in _line(said, path)
        return
    assert said == ""
    release = Release.of(*values, program=program)
    assert list(nothing_is_null(release)) == []
    assert [f"{known_as(one)}: {what}" for one in release.objects for what in complaints(one, NEWEST)] == []


def test_no_consumers_at_all_are_refused_in_words_of_their_own() -> None:
    assert "no entry of consumers is enabled" in refused({"consumers": None})


def test_all_are_named_at_once() -> None:
    said = refused({"gateway": None, "controller": {"replicas": None}})
    assert "- gateway is null: " in said
    assert "- controller.replicas is null: leave it out for the default, 2, " in said


@pytest.mark.needs("helm3")
@pytest.mark.parametrize("by_file", [True, False], ids=["by its values.yaml", "by --values"])
@pytest.mark.parametrize("path", [("gateway",), ("rabbitmq", "dev"), ("networkPolicy", "enabled")], ids=".".join)
def test_a_parent_charts_null_is_refused_too(path: tuple[str, ...], by_file: bool, tmp_path: Path) -> None:
    """By the same name, whatever the parent chart calls this one."""
    chart = parent(tmp_path, null(path) if by_file else {})
    given = [] if by_file else [{"jobs": null(path)}]
    for program in (helm(), *helms3()):
        _line(refused(*given, chart=chart, program=program, below="jobs"), path)
