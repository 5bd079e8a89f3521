"""Your handlers, and the program that runs them. Everything that a handler needs is imported from here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.context import Context, TimeLimitExceeded
    from consumer.registry import handler, resource
    from core.errors import Permanent, RetryLater
else:
    # Loaded when it is asked for: `python -m consumer` has to listen for SIGTERM before a tenth of a second goes into modules.
    _MODULES = {
        "Context": "consumer.context",
        "Permanent": "core.errors",
        "RetryLater": "core.errors",
        "TimeLimitExceeded": "consumer.context",
        "handler": "consumer.registry",
        "resource": "consumer.registry",
    }

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'consumer' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return found


__all__ = ["Context", "Permanent", "RetryLater", "TimeLimitExceeded", "handler", "resource"]
