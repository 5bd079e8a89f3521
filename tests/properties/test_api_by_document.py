"""Requests made of the OpenAPI document, good and bad ones: the gateway answers what the document says, and never with a 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance

from tests.properties.test_edge import Server


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.terminate()
    assert server.process.wait(20) == 0


def test_every_operation(served: Server) -> None:
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json")
    found = list(document.get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found)
    assert len(operations) > 8
    for operation in operations:
        _try(operation)


def _try(operation: Any) -> None:
    good, bad = (operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(good | bad)
    def ask(case: Any) -> None:
        case.call_and_validate(checks=[not_a_server_error, content_type_conformance], timeout=10)

    ask()
