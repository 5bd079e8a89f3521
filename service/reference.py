"""`/docs`: the OpenAPI document as one page that needs nothing from elsewhere, so that it works in a closed network."""

from __future__ import annotations

import json
import re
import shlex
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin:2.2rem 0 .3rem;border-top:1px solid #d8dee4;padding-top:1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f4f6f8;padding:.8rem;overflow:auto;border-radius:6px}
.verb{display:inline-block;min-width:4rem;font-weight:700;color:#0b5cad}table{border-collapse:collapse}
td{padding:.15rem 1rem .15rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#11161c;color:#d7dee6}pre{background:#1b232c}h2{border-color:#2c3742}.verb{color:#6cb2f7}}
"""
# A name or an address, and a port. Any other text in a request is not repeated in a command.
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def page(document: dict[str, Any], host: str) -> str:
    """The page as HTML. host: where the reader reaches the gateway, `name:port`, for the commands."""
    parts = [
        _operation(path, verb, what, document, host) for path, verbs in document["paths"].items() for verb, what in verbs.items()
    ]
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f'<p>Machine-readable: <a href="/openapi.json">OpenAPI</a>, <a href="/asyncapi.json">AsyncAPI</a>.</p>'
        f"{''.join(parts)}</html>"
    )


def host_of(header: str, port: int) -> str:
    """Where to send the page's commands: the host that its own request names, where that can stand in a command as it is.

    header: the request's Host, empty where there is none. port: the gateway's own.
    """
    return header if _HOST.fullmatch(header) else f"localhost:{port}"


def _operation(path: str, verb: str, operation: dict[str, Any], document: dict[str, Any], host: str) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{_text(answer.get('description', ''))}</td></tr>"
        for status, answer in operation.get("responses", {}).items()
    )
    summary = operation.get("summary", "").rstrip(".")
    return (
        f'<h2><span class="verb">{verb.upper()}</span> <code>{escape(path)}</code></h2><p>{_text(summary)}. '
        f"{_text(operation.get('description', ''))}{_scope(operation)}</p>"
        f"{_try(path, operation, host)}{_schema(operation, document)}<table>{rows}</table>"
    )


def _text(written: str) -> str:
    """Of the Markdown that descriptions may have, what ours have: `code`."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(written))


def _scope(operation: dict[str, Any]) -> str:
    asked: list[dict[str, list[str]]] = operation.get("security", [])
    scopes = [scope for way in asked[:1] for of in way.values() for scope in of]
    return f" Where the gateway asks for keys: one with the scope <code>{escape(scopes[0])}</code>." if scopes else ""


def _try(path: str, operation: dict[str, Any], host: str) -> str:
    examples = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
    command = f"curl -i {shlex.quote(host + path)} -H 'content-type: application/json' \\\n  -d "
    return "".join(f"<pre>{escape(command + shlex.quote(json.dumps(example['value'])))}</pre>" for example in examples.values())


def _schema(operation: dict[str, Any], document: dict[str, Any]) -> str:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    found = document.get("components", {}).get("schemas", {}).get(name)
    return f"<details><summary>Schema</summary><pre>{escape(json.dumps(found, indent=2))}</pre></details>" if found else ""
