"""Your handlers, and the program that runs them. What a handler needs is imported from here."""

from consumer.context import Context, TimeLimitExceeded
from consumer.registry import handler, resource
from core.errors import Permanent, RetryLater

__all__ = ["Context", "Permanent", "RetryLater", "TimeLimitExceeded", "handler", "resource"]
