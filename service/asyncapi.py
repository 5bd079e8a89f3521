"""AsyncAPI 3.0 of the same contracts: what travels on the queues."""

from __future__ import annotations

from typing import Any

from core.catalogue import Catalogue
from core.model import Contract
from core.topology import EXCHANGE
from service.openapi import VERSION

_HEADERS = {
    "type": "object",
    "description": "A CloudEvent 1.0 in binary mode, and Headrace's own headers; all text.",
    "required": ["cloudEvents_specversion", "cloudEvents_id", "cloudEvents_source", "cloudEvents_type"],
    "properties": {
        "cloudEvents_specversion": {"const": "1.0"},
        "cloudEvents_id": {"type": "string", "format": "uuid", "description": "The job id."},
        "cloudEvents_source": {"type": "string"},
        "cloudEvents_type": {"type": "string", "description": "The job type."},
        "cloudEvents_time": {"type": "string", "format": "date-time", "description": "When it was accepted."},
        "headrace-version": {"enum": ["0", "1"]},
        "headrace-attempt": {"type": "string"},
        "headrace-deadline": {"type": "string", "format": "date-time"},
        "traceparent": {"type": "string"},
    },
}


def asyncapi(catalogue: Catalogue) -> dict[str, Any]:
    """The document: a channel a queue, a message a job type, an operation for each of the two sides."""
    queues = catalogue.topology().queues
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Headrace", "version": VERSION, "description": "Job types and the queues that receive them."},
        "channels": {queue: _channel(queue, catalogue) for queue in queues},
        "operations": {f"receive_{queue}": _receive(queue) for queue in queues},
        "components": {"messages": {contract.name: _message(contract) for contract in catalogue}},
    }


def _channel(queue: str, catalogue: Catalogue) -> dict[str, Any]:
    carried = [contract.name for contract in catalogue if queue in contract.queues]
    return {
        "address": queue,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried},
        "bindings": {"amqp": {"is": "queue", "queue": {"name": queue, "durable": True}, "bindingVersion": "0.3.0"}},
        "description": f"Bound to the topic exchange {EXCHANGE!r} for: {', '.join(carried)}.",
    }


def _receive(queue: str) -> dict[str, Any]:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{queue}"}}


def _message(contract: Contract) -> dict[str, Any]:
    schema = contract.payload.model_json_schema(ref_template=f"#/components/messages/{contract.name}/payload/$defs/{{model}}")
    return {
        "name": contract.name,
        "title": contract.description or contract.name,
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": schema,
        "examples": [{"payload": example} for example in contract.examples],
    }
