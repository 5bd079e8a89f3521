"""Generate the JSON schemas beside this file again from the CRDs in Go modules: `python -m tests.deploy.crds.make`. Needs Go.

The API server prunes fields that a CRD's schema does not name, and knows `nullable` and int-or-string; a JSON schema does not by
itself. So objects are closed here, and these two are written out. Descriptions and CEL rules go.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
# module@version, the folder in it, and the CRDs
SOURCES = (
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
        ("monitoring.coreos.com_podmonitors", "monitoring.coreos.com_servicemonitors", "monitoring.coreos.com_prometheusrules"),
    ),
    ("sigs.k8s.io/gateway-api@v1.6.3", "config/crd/standard", ("gateway.networking.k8s.io_httproutes",)),
)


def main() -> None:
    for module, folder, names in SOURCES:
        done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True)
        for name in names:
            for file, schema in schemas(Path(json.loads(done.stdout)["Dir"]) / folder / f"{name}.yaml"):
                (HERE / file).write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")


def schemas(crd: Path) -> list[tuple[str, dict[str, Any]]]:
    """File name and JSON schema of each version that is served."""
    spec = yaml.safe_load(crd.read_text(encoding="utf-8"))["spec"]
    versions = [version for version in spec["versions"] if version["served"]]
    return [
        (f"{spec['names']['kind']}-{spec['group']}-{version['name']}.json", closed(version["schema"]["openAPIV3Schema"]))
        for version in versions
    ]


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same as a JSON schema that refuses what the API server would prune."""
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"description", "default", "example", "nullable"} or key.startswith("x-kubernetes-"):
            continue
        if key == "properties":
            kept[key] = {name: closed(part) for name, part in value.items()}
        elif key in {"allOf", "anyOf", "oneOf"}:
            kept[key] = [closed(part) for part in value]
        elif key in {"items", "not"} or (key == "additionalProperties" and isinstance(value, dict)):
            kept[key] = closed(value)
        else:
            kept[key] = value
    if "pattern" in kept:
        kept["pattern"] = re.sub(r"^(.*)\(\?i\)", r"(?i)\1", kept["pattern"])  # Go takes a flag anywhere, Python in front only
        re.compile(kept["pattern"])
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
        kept.pop("anyOf", None)
    if schema.get("nullable"):
        kept["type"] = [kept["type"], "null"]
    # Only the outer tree of a CRD's schema has types; schemas in anyOf and the like narrow it, and name some fields only.
    if schema.get("type") == "object" and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    return kept


if __name__ == "__main__":
    main()
