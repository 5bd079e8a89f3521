"""The submit route's part of the OpenAPI document: a path for each contract, with its schema and examples."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from core.catalogue import Catalogue
from core.model import Contract
from service.guard import needed

VERSION = version("headrace")  # as `pyproject.toml` has it
PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}}},
        },
    },
}
ACCEPTED = {
    "type": "object",
    "required": ["job_id", "accepted_at", "job_type", "deliveries"],
    "properties": {
        "job_id": {"type": "string", "format": "uuid"},
        "accepted_at": {"type": "string", "format": "date-time"},
        "job_type": {"type": "string"},
        "deliveries": {
            "type": "array",
            "items": {"type": "object", "properties": {"queue": {"type": "string"}, "state": {"type": "string"}}},
        },
    },
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_OTHER = {"description": "What else can be wrong", "content": _PROBLEM}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`, where the gateway asks for keys."},
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, where the other header is taken.",
    },
}
_REFUSED = {
    "400": "Not one JSON object, or a header that cannot be used",
    "408": "The body took too long",
    "413": "The body is too long",
    "415": "Not JSON",
    "422": "Not what the contract asks for, or a query parameter, of which there are none",
    "503": "Not confirmed: it may run or may not. Send it again with the same Idempotency-Key",
}


def add_contracts(document: dict[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """Put a path a contract into `document`, and return it."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Problem": PROBLEM, "Accepted": ACCEPTED}
    for verbs in document.get("paths", {}).values():
        for operation in verbs.values():  # FastAPI's own 422 is another document than ours
            operation["responses"] |= {"422": {"description": "A parameter cannot be used", "content": _PROBLEM}, "default": _OTHER}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    paths = {f"/v1/jobs/{contract.name}": {"post": _operation(contract)} for contract in catalogue}
    for contract in catalogue:
        schema = contract.payload.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[contract.payload.__name__] = schema
    document["paths"] = paths | document.get("paths", {})
    return document


def add_security(document: dict[str, Any]) -> dict[str, Any]:
    """Say of each operation which scope its key needs, and how it is refused without. Changes `document`, and returns it."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            scope = needed(verb.upper(), path)
            if scope is None:
                continue
            operation["security"] = [{"bearer": [scope]}, {"header": [scope]}]
            operation["responses"] |= {
                "401": {"description": "No API key, or none that is valid", "content": _PROBLEM},
                "403": {"description": f"The key lacks the scope `{scope}`", "content": _PROBLEM},
            }
    return document


def _operation(contract: Contract) -> dict[str, Any]:
    examples = {f"example {number}": {"value": value} for number, value in enumerate(contract.examples, 1)}
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{contract.payload.__name__}"}}
    accepted = {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}}
    return {
        "tags": ["submit"],
        "summary": contract.description or f"Submit {contract.name}",
        "description": f"Goes to: {', '.join(contract.queues)}. Answered once the broker has made it durable.",
        "operationId": "submit_" + contract.name.replace(".", "_").replace("-", "_"),
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key gives the same job id: a retry is the same job.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": content | ({"examples": examples} if examples else {})}},
        "responses": {
            "202": {
                "description": "Durable",
                "headers": {"Location": {"schema": {"type": "string"}, "description": "Where its state is shown."}},
                "content": accepted,
            },
            **{status: {"description": text, "content": _PROBLEM} for status, text in _REFUSED.items()},
        },
    }
