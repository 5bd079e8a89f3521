"""Logs: structlog, JSON when standard error is not a terminal; the standard library's loggers take the same way."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

# Their info lines would be a line a request, or repeat what we say ourselves.
_QUIET = {"uvicorn.access": logging.ERROR, "aiormq": logging.CRITICAL, "aiosmtplib": logging.WARNING, "asyncio": logging.WARNING}


def configure(level: str, form: Literal["auto", "json", "console"], program: str) -> None:
    """Set up logging for this process. `program` is in every line."""
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add(program),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def get(name: str) -> Any:
    """A structlog logger: `log.info("an event", key=value)`."""
    return structlog.get_logger(name)


def _add(program: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("program", program)
        return event

    return add


class OncePer:
    """Lets one line through each `seconds`, so that a fault that hits every job does not fill the log."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def __call__(self, now: float) -> bool:
        """`now`: steady seconds. True at most once a period."""
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
