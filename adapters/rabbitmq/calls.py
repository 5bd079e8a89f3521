"""The border to the AMQP library: each call ends with an answer or a BrokerError."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Iterator
from typing import Any, Protocol

from aiormq.exceptions import ConnectionNotAllowed, ProbableAuthenticationError

from core.chance import Chance
from core.errors import BrokerError, BrokerUnavailable
from core.outgoing import untrusted
from telemetry import logs

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@contextlib.contextmanager
def calls() -> Iterator[None]:
    """Turn whatever the library raises into BrokerUnavailable.

    Where a connection ends during a call, aiormq raises a bare `Exception` or `RuntimeError`, or a CancelledError that
    no code of ours asked for: a task that was really cancelled has it counted (`Task.cancelling`).
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("the connection ended during a call") from None
    except BrokerError:
        raise
    except Exception as error:
        raise BrokerUnavailable(why(error)) from error


def why(error: BaseException | None) -> str:
    """The cause of a failure, and its remedy where that is known. Never with the password."""
    if error is None:
        return "closed"
    if isinstance(error, ProbableAuthenticationError):
        return "RabbitMQ refuses the user or the password of HEADRACE_BROKER (or of its file); tried again and again"
    said = _ADDRESS.sub("", logs.brief(error))
    if isinstance(error, ConnectionNotAllowed):
        return (
            f"RabbitMQ does not let us in: {said}. Make the virtual host (rabbitmqctl add_vhost NAME) and let the user in "
            "(rabbitmqctl set_permissions -p NAME USER '.*' '.*' '.*'), or mend the path of HEADRACE_BROKER"
        )
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {said or 'the connection ended during a call'}{untrusted(error)}"


class Pauses:
    """Full jitter up to `first`, twice that, ... `last` seconds: programs that lost the same thing do not come back at once."""

    def __init__(self, chance: Chance, first: float, last: float) -> None:
        self._chance = chance
        self._first = self._next = first
        self.last = last

    def begin(self) -> None:
        """It worked: the next pause is the first again."""
        self._next = self._first

    async def sleep(self, least: float = 0.05) -> None:
        """Raises CancelledError alone."""
        most, self._next = self._next, min(self._next * 2.0, self.last)
        await asyncio.sleep(self._chance.uniform(least, max(most, least)))


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but not for longer; whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Closes(Protocol):
    """A connection, or a channel."""

    def close(self) -> Awaitable[Any]: ...


async def close_quietly(what: Closes, seconds: float = 2.0) -> None:
    """It ends either way; a stalled peer never answers a farewell."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(seconds):
            await what.close()
