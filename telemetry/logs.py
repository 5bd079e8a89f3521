"""Logs: structlog, JSON when standard error is not a terminal; the standard library's loggers take the same way."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from typing import Any, Literal

from core.text import safe_end, text_of

# structlog imports rich where that is installed, for tracebacks with local variables, which nobody gets to see here: 85 modules,
# an eighth of the CPU time in which a consumer starts.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
    from structlog.tracebacks import ExceptionDictTransformer
finally:
    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich

# Their info lines would be a line a request, or repeat what we say ourselves.
_QUIET = {
    "uvicorn.access": logging.ERROR,
    "aiormq": logging.CRITICAL,
    "aio_pika": logging.CRITICAL,
    "aiosmtplib": logging.WARNING,
    "asyncio": logging.WARNING,
}

# Characters of one field of a line, and of one exception's text: an exception may carry a whole answer of a server.
MOST_TEXT = 2000
# Of a traceback on a terminal, the end.
_MOST_TRACEBACK = 8000
# Frames of one exception, and exceptions of one chain.
_MOST_FRAMES, _MOST_CHAINED = 20, 8
# The password of a URL, and of a `key=value` DSN, in whoever's words: libraries put their own arguments into their errors.
_PASSWORDS = re.compile(
    r"""(://[^\s/:@"'\\]{0,200}:)[^\s"'\\]{1,1000}@|(\b(?:password|passwd|pwd)=)[^\s&;,"'\\)]{1,1000}""", re.IGNORECASE
)


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
        [structlog.processors.ExceptionRenderer(_exceptions), _bounded, structlog.processors.JSONRenderer()]
        if json
        else [_bounded, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)]
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
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render, _masked]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    # The interpreter's own last words would be plain text, and unbounded.
    sys.excepthook = lambda kind, error, trace: _last_words((kind, error, trace))
    threading.excepthook = lambda args: _last_words((args.exc_type, args.exc_value, args.exc_traceback))


def get(name: str) -> Any:
    """A structlog logger: `log.info("an event", key=value)`."""
    return structlog.get_logger(name)


def masked(text: str) -> str:
    """`text` without the passwords of URLs and DSNs."""
    return _PASSWORDS.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)


def _masked(_: Any, __: str, line: Any) -> str:
    return masked(line)


def _bounded(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > MOST_TEXT:
            event[name] = value[:MOST_TEXT] + "…"
    return event


# No local variables: they are callers' keys, payloads and passwords.
_as_dicts = ExceptionDictTransformer(show_locals=False, max_frames=_MOST_FRAMES)


def _exceptions(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    """An exception and those that it came from, as JSON takes them; the texts cut."""
    return [_cut(one) for one in _as_dicts(exc_info)[:_MOST_CHAINED]]


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MOST_TEXT]
    if isinstance(value, dict):
        return {name: _cut(of) for name, of in value.items()}
    return [_cut(of) for of in value[: 2 * _MOST_FRAMES]] if isinstance(value, list) else value


def _write_traceback(to: Any, exc_info: structlog.typing.ExcInfo) -> None:
    """For a terminal: as Python writes it. What is usual there, rich's, shows local variables."""
    to.write("\n" + safe_end("".join(traceback.format_exception(*exc_info, limit=-_MOST_FRAMES)), _MOST_TRACEBACK))


def _last_words(exc_info: Any) -> None:
    if issubclass(exc_info[0], KeyboardInterrupt):
        return
    get("program").critical("an error that nobody caught", exc_info=exc_info)


def _add(program: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("program", program)
        return event

    return add


def brief(error: BaseException) -> str:
    """An error's own text, one line and short."""
    return text_of(error, 300).replace("\n", " ")


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
