"""Every error that Headrace raises.

HeadraceError
├── SettingsError            a setting cannot be used; the start is refused
├── ContractError            a contract or a handler is written wrongly; the start is refused
├── UnknownJobType           no contract has this name
├── PayloadError
│   ├── MalformedBody        the bytes are not one JSON object
│   └── InvalidPayload       JSON, but not what the contract asks for
├── EnvelopeError            a message whose headers cannot be read
│   └── UnknownVersion       written by a version of Headrace that this one does not read
├── BrokerError
│   ├── BrokerUnavailable    not connected, blocked or closed
│   ├── PublishTimeout       no confirm within the publish timeout: the job may run or may not
│   ├── WindowFull           as much is waiting for a confirm as may wait
│   ├── Unroutable           the broker has no queue for this job type
│   ├── Unpublishable        no broker takes this message, however often it is tried
│   │   └── TooLarge         its body is above what the broker takes
│   └── TopologyMismatch     a queue or an exchange exists with other arguments
├── StoreUnavailable         the outcome store did not answer in time
├── NotReplayable            a dead letter whose message cannot be sent as it is
├── BadRecord                what is stored of one item cannot be read, or it cannot be written; others can
├── SignalError              the controller could not see: it holds
├── ActuatorError            replicas could not be set; the message says why, and the remedy
└── HandlerError             what a handler raises to speak to the runtime
    ├── Permanent            do not try again: dead letter
    └── RetryLater           try again, after the given delay

An HTTP status is mapped at the edge (`service/errors.py`), never here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class HeadraceError(Exception):
    """The root of the tree."""


class SettingsError(HeadraceError):
    """A setting cannot be used; the message names it, its value and what is allowed."""


class ContractError(HeadraceError):
    """A contract or a handler is written wrongly; the message names the file's mistake and the remedy."""


class UnknownJobType(HeadraceError):
    """No contract is called `name`; `near` are the names most like it."""

    def __init__(self, name: str, near: Sequence[str] = ()) -> None:
        super().__init__(f"no job type is called {name!r}")
        self.name = name
        self.near = tuple(near)


class PayloadError(HeadraceError):
    """The body of a job cannot be taken."""


class MalformedBody(PayloadError):
    """The bytes are not one JSON object (syntax, encoding, nesting, duplicate keys, NaN)."""


class Problem(NamedTuple):
    """One thing wrong with a payload. `pointer` is a JSON pointer (RFC 6901) to the field."""

    pointer: str
    detail: str


class InvalidPayload(PayloadError):
    """The JSON is not what the contract asks for; `problems` has one entry a field."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.pointer or '/'}: {p.detail}" for p in problems))
        self.problems = tuple(problems)


class EnvelopeError(HeadraceError):
    """A message's headers cannot be read; the message names the header."""


class UnknownVersion(EnvelopeError):
    """The envelope has a version that this release does not read."""


class BrokerError(HeadraceError):
    """A job was not confirmed by the broker."""


class BrokerUnavailable(BrokerError):
    """Not connected, blocked by an alarm, or closed. Nothing was sent."""


class PublishTimeout(BrokerError):
    """No confirm came within the publish timeout. The job may run or may not."""


class WindowFull(BrokerError):
    """As much is waiting for a confirm as may wait. Nothing was sent."""


class Unroutable(BrokerError):
    """The broker returned the message: no queue is bound for it."""


class Unpublishable(BrokerError):
    """It cannot be written as a message; the text says why. Nothing was sent, and trying again is useless."""


class TooLarge(Unpublishable):
    """The body has `size` bytes, and the broker takes `limit`."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a body of {size} bytes; the broker takes at most {limit}")
        self.size = size
        self.limit = limit


class TopologyMismatch(BrokerError):
    """A queue or an exchange exists with other arguments; the message says how to migrate."""


class StoreUnavailable(HeadraceError):
    """The outcome store did not answer in time, or refused."""


class NotReplayable(HeadraceError):
    """A dead letter's message cannot be sent as it is, today or ever; the message says what is wrong with it."""


class BadRecord(HeadraceError):
    """The stored record of one item cannot be read, or the item cannot be written; the store works for others."""


class SignalError(HeadraceError):
    """A source of the controller's figures gave none; the message says why."""


class ActuatorError(HeadraceError):
    """Replicas could not be set, or the workload is not ours to set; the message says why, and the remedy."""


class HandlerError(HeadraceError):
    """The errors that a handler raises to control its delivery."""


class Permanent(HandlerError):
    """Trying again is useless: the delivery becomes a dead letter."""


class RetryLater(HandlerError):
    """Try again in `delay` seconds. It counts as an attempt, like any other retry."""

    def __init__(self, delay: float, reason: str = "") -> None:
        if not 0 <= delay < float("inf"):
            raise ValueError(f"delay must be 0 or more seconds, not {delay!r}")
        super().__init__(reason or f"retry in {delay:g} s")
        self.delay = delay
