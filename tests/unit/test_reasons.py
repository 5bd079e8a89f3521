"""The public reason of an outage: the kind, and nothing that shows where the server is."""

from __future__ import annotations

import pytest

from telemetry.reasons import public

PLANTED = ("planted", "10.20.30.40", "5672", "fd00", "secret", "/var/")


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("connecting", "connecting"),
        ("blocked by the broker: a memory or disk alarm", "blocked by the broker: a memory or disk alarm"),
        ("no confirm within the publish timeout", "no confirm within the publish timeout"),
        ("email: messages are ready, and none arrives", "email: messages are ready, and none arrives"),
        ("broker: reconnecting", "broker: reconnecting"),
        ("ConnectionRefusedError: [Errno 111] Connect call failed ('10.20.30.40', 5672)", "ConnectionRefusedError"),
        ("AMQPConnectionError: planted.internal: it is no more", "AMQPConnectionError"),
        ("Redis: ConnectionError: Error -2 connecting to planted.internal:6379. Unknown", "Redis: ConnectionError"),
        ("broker: gaierror: [Errno -2] planted.internal", "broker: gaierror"),
        ("rabbitmq link: TimeoutError: planted", "rabbitmq link: TimeoutError"),
        ("OperationalError('planted')", "OperationalError"),
        ("no answer from planted.internal:5672", "no answer from (see the log)"),
        ("no answer from amqp://u:secret@planted/x now", "no answer from (see the log) now"),
        ("no answer from 10.20.30.40", "no answer from (see the log)"),
        ("no answer from [fd00::12]:5672", "no answer from (see the log)"),
        ("no answer from fd00::12", "no answer from (see the log)"),
        ("cannot open /var/planted/file.db", "cannot open (see the log)"),
    ],
)
def test_the_kind_stays_and_the_address_goes(reason: str, shown: str) -> None:
    assert public(reason) == shown
    assert not any(part in public(reason) for part in PLANTED)


def test_it_is_bounded() -> None:
    assert len(public("x" * 10_000)) == 300
