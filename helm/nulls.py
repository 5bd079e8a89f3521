"""Makes values.nulls.json from values.yaml: what the chart says where null takes a value away. `python -m helm.nulls`.

Helm removes a default whose key is null in a user's values, and does so before it asks the schema, which never sees the null.
A template then fails on the missing section, or renders 0, or nothing. So templates/values/nulls.yaml refuses each by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from helm.document import CHART, OPTIONAL, Value, read

PATH: Final = CHART / "values.nulls.json"


def remedies(values: Iterable[Value]) -> dict[str, str]:
    """By the value's path, such as `gateway.replicas`: what to write in the place of null. Values that may be null are not among
    them."""
    return dict(_remedies(values, ""))


def text() -> str:
    """The content of the file."""
    found = remedies(read((CHART / "values.yaml").read_text(encoding="utf-8")))
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _remedies(values: Iterable[Value], above: str) -> Iterator[tuple[str, str]]:
    for value in values:
        path = f"{above}{value.key}"
        if not _as_good_as_empty(value):
            yield path, _remedy(value, path)
        yield from _remedies(value.inner, f"{path}.")


def _as_good_as_empty(value: Value) -> bool:
    """Values that are empty by default, whose schema or `@optional` line allows null, and mappings whose keys are the user's."""
    if OPTIONAL in value.marks or "null" in value.schema.get("type", ()):
        return True
    mapping: bool = isinstance(value.default, dict) and not value.inner
    return mapping or value.default is None or value.default in ("", [])


def _remedy(value: Value, path: str) -> str:
    if not value.inner:
        return f"leave it out for the default, {_shown(value.default)}, or write another value."
    if any(inner.key == "enabled" for inner in value.inner):
        return f"leave it out for the defaults, or turn it off with {path}.enabled: false."
    return f"leave it out for the defaults, or write what differs below it, such as {path}.{value.inner[0].key}."


def _shown(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def main() -> int:
    """Write it. The exit code: 0."""
    PATH.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
