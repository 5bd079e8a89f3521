"""The ports that `headrace up` and `demo` choose for their programs, which bind them a second later."""

from __future__ import annotations

import contextlib
import socket

from cli.supervisor import free_port


def _bound(port: int) -> socket.socket:
    """As a program binds its port (telemetry.listening.bound)."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", port))
    return one


def test_a_port_that_was_chosen_is_given_to_nobody_else() -> None:
    """Of 400 that are bound and closed again, some 28 would be among the next 500: Linux gives those from 7,000 ports."""
    chosen = [free_port() for _ in range(400)]
    assert len(set(chosen)) == 400
    with contextlib.ExitStack() as kept:
        others = {kept.enter_context(_bound(0)).getsockname()[1] for _ in range(500)}
    assert not others & set(chosen)


def test_a_port_that_was_chosen_can_be_bound() -> None:
    for port in (free_port(), free_port()):
        with _bound(port) as program:
            program.listen()


def test_a_port_that_was_asked_for_is_given_unless_somebody_listens_there() -> None:
    wanted = free_port()
    assert free_port(wanted) == wanted
    with _bound(wanted) as other:
        other.listen()
        assert free_port(wanted) != wanted
